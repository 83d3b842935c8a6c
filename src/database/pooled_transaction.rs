//! Transactions on a connection of the pool, whose commit is never mistaken.

use super::pool::{Checkout, Connections, refuse_async_context};
use super::sql::Sql;
use crate::error::{Error, Result, ended_by_server, lost_connection};
use std::time::Duration;

/// The client reports success when the server answers COMMIT with ROLLBACK, as it does in a transaction in which a
/// statement has failed. SAVEPOINT fails there, and it fails where the transaction was already ended by other means.
const COMMIT: &str = "SAVEPOINT emt_commit; COMMIT";
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// How many dead connections are replaced before their error is returned.
const REPLACEMENTS: usize = 3;

/// An open transaction on a connection of the store's; rolled back when dropped.
pub(crate) struct PooledTransaction {
    checkout: Checkout,
    open: bool,
}

impl PooledTransaction {
    /// Begins a transaction. A connection that turns out to be dead is replaced: nothing has happened on it.
    pub(crate) fn begin(connections: &Connections) -> Result<Self> {
        Self::begin_by(connections, BEGIN)
    }

    /// Begins a transaction that the server ends when it is idle for longer than `patience`, or when one statement takes
    /// longer, unless the connection has a limit of its own for that.
    pub(crate) fn begin_within(connections: &Connections, patience: Duration) -> Result<Self> {
        let limit = patience.as_millis().max(1);
        let begin = format!(
            "{BEGIN}; SET LOCAL idle_in_transaction_session_timeout = {limit};
             SELECT set_config('statement_timeout', '{limit}', TRUE) WHERE current_setting('statement_timeout') = '0'"
        );
        Self::begin_by(connections, &begin)
    }

    fn begin_by(connections: &Connections, begin: &str) -> Result<Self> {
        let mut replaced = 0;
        loop {
            let mut checkout = connections.checkout()?;
            let Err(error) = checkout.sql().batch(begin) else {
                return Ok(Self {
                    checkout,
                    open: true,
                });
            };
            let dead = lost_connection(&error) || ended_by_server(&error);
            connections.discard(checkout);
            if !dead || replaced == REPLACEMENTS {
                return Err(Error::database("begin a transaction", error));
            }
            replaced += 1;
        }
    }

    pub(crate) fn sql(&mut self) -> &mut dyn Sql {
        self.checkout.sql()
    }

    /// Commits, or fails and rolls back.
    pub(crate) fn commit(mut self) -> Result<()> {
        // Over a connection that is known to be lost, no COMMIT gets out.
        let sent = !self.checkout.is_closed();
        let Err(error) = self.sql().batch(COMMIT) else {
            self.open = false;
            return Ok(());
        };
        if sent && lost_connection(&error) {
            return Err(Error::UnknownOutcome { source: error });
        }
        Err(Error::database("commit the transaction", error))
    }

    pub(crate) fn rollback(mut self) -> Result<()> {
        self.open = false;
        let result = self.sql().batch("ROLLBACK");
        if result.is_err() {
            self.checkout.poison();
        }
        result.map_err(|error| Error::database("roll back the transaction", error))
    }
}

impl Drop for PooledTransaction {
    fn drop(&mut self) {
        // Inside an async runtime nothing can be sent; the server rolls back when the connection ends.
        if self.open && (refuse_async_context().is_err() || self.sql().batch("ROLLBACK").is_err()) {
            self.checkout.poison();
        }
    }
}

impl Connections {
    /// Runs one statement that is its own transaction. A connection that the server had closed is replaced and the
    /// statement repeated: the server says so only when the statement did not commit. `repeatable` repeats it after any
    /// lost connection.
    pub(crate) fn run<T>(
        &self,
        repeatable: bool,
        mut run: impl FnMut(&mut dyn Sql) -> Result<T>,
    ) -> Result<T> {
        let mut replaced = 0;
        loop {
            let mut checkout = self.checkout()?;
            let error = match run(checkout.sql()) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Some(cause) = database_cause(&error) else {
                return Err(error);
            };
            let stale_plan = error.is_stale_plan();
            let lost = lost_connection(cause);
            if !stale_plan && !lost && !ended_by_server(cause) {
                return Err(error);
            }
            let may_repeat = (!lost || repeatable) && replaced < REPLACEMENTS;
            if !stale_plan {
                self.discard(checkout);
            }
            if !may_repeat {
                return Err(if lost && !repeatable {
                    unknown_outcome(error)
                } else {
                    error
                });
            }
            replaced += 1;
        }
    }
}

fn database_cause(error: &Error) -> Option<&postgres::Error> {
    match error {
        Error::Database { source, .. } => Some(source),
        _ => None,
    }
}

fn unknown_outcome(error: Error) -> Error {
    match error {
        Error::Database { source, .. } => Error::UnknownOutcome { source },
        other => other,
    }
}

//! Transactions on a connection of the pool, with a commit whose result is reliable.

use super::driver_error::{
    ended_by_server, is_stale_plan, is_victim, is_wrong_server, lost_server,
};
use super::error::{DatabaseError, Result, RoomError};
use super::isolation::{READ_COMMITTED, may_be_isolation};
use super::pool::{Checkout, Connections, refuse_async_context};
use super::retry::{RetryPolicy, retry};
use super::sql::{Sql, scalar};
use super::verification::Verification;
use std::cell::Cell;
use std::time::Duration;

/// The client reports success when the server answers COMMIT with ROLLBACK, as it does after a failed statement. SAVEPOINT
/// fails in that case, and also if the transaction was already ended.
const COMMIT: &str = "SAVEPOINT emt_commit; COMMIT";
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const BEGIN_ALONE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const ISOLATION: &str = "SELECT pg_catalog.current_setting('transaction_isolation')";

/// Maximum number of dead connections that are replaced before their error is returned.
const REPLACEMENTS: RetryPolicy = RetryPolicy::times(3);

fn within(patience: Duration) -> String {
    let limit = milliseconds(patience);
    format!(
        "{BEGIN}; SET LOCAL idle_in_transaction_session_timeout = {limit};
         SELECT pg_catalog.set_config('statement_timeout', '{limit}', TRUE) WHERE pg_catalog.current_setting('statement_timeout') = '0'"
    )
}

/// For a server setting whose value 0 means no limit.
fn milliseconds(time: Duration) -> u128 {
    time.as_millis().max(1)
}

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

    /// Begins a transaction for user code. Whether it can write is the default of the server and the role.
    pub(crate) fn begin_by_default(connections: &Connections) -> Result<Self> {
        Self::begin_by(connections, BEGIN_ALONE)
    }

    /// Begins a transaction with a limit on idle time and on each statement: the server ends it after `patience`. A limit
    /// that the connection already has wins.
    pub(crate) fn begin_within(connections: &Connections, patience: Duration) -> Result<Self> {
        Self::begin_by(connections, &within(patience))
    }

    /// Also limits each wait for a lock to `lock_patience`.
    pub(crate) fn begin_among_locks(
        connections: &Connections,
        patience: Duration,
        lock_patience: Duration,
    ) -> Result<Self> {
        let (begin, limit) = (within(patience), milliseconds(lock_patience));
        Self::begin_by(
            connections,
            &format!("{begin}; SET LOCAL lock_timeout = {limit}"),
        )
    }

    fn begin_by(connections: &Connections, begin: &str) -> Result<Self> {
        retry(
            &REPLACEMENTS,
            |_| Self::begin_once(connections, begin),
            |begun| begun.as_ref().is_err_and(names_useless_connection),
        )
    }

    fn begin_once(connections: &Connections, begin: &str) -> Result<Self> {
        let mut checkout = connections.checkout()?;
        checkout.take_unwell();
        let Err(error) = checkout.sql().batch(begin) else {
            return Ok(Self {
                checkout,
                open: true,
            });
        };
        connections.discard(checkout);
        Err(DatabaseError::statement("begin a transaction", error))
    }

    pub(crate) fn sql(&mut self) -> &mut dyn Sql {
        self.checkout.sql()
    }

    /// Whether a statement of the transaction failed because of a temporary database failure, since the last call.
    pub(crate) fn take_unwell(&mut self) -> bool {
        self.checkout.take_unwell()
    }

    /// Runs a verification if the connection is new.
    pub(crate) fn verify(&mut self, verification: &Verification) -> Result<()> {
        self.checkout.verify(verification)
    }

    /// Commits, or fails and rolls back.
    pub(crate) fn commit(mut self) -> Result<()> {
        // Over a lost connection, no COMMIT is sent.
        let sent = !self.checkout.is_closed();
        let Err(error) = self.sql().batch(COMMIT) else {
            self.open = false;
            return Ok(());
        };
        if sent && lost_server(&error) {
            return Err(DatabaseError::UnknownOutcome { source: error });
        }
        Err(DatabaseError::statement("commit the transaction", error))
    }

    pub(crate) fn rollback(mut self) -> Result<()> {
        self.open = false;
        let result = self.sql().batch("ROLLBACK");
        if result.is_err() {
            self.checkout.poison();
        }
        result.map_err(|error| DatabaseError::statement("roll back the transaction", error))
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
    /// Runs one statement as its own transaction. It is repeated over another connection if the server had closed this one
    /// or it leads to a standby. It is also repeated after a deadlock. In these cases the server guarantees that the
    /// statement did not commit. `repeatable` repeats it after any lost connection.
    pub(crate) fn run<T, E: RoomError>(
        &self,
        repeatable: bool,
        mut run: impl FnMut(&mut dyn Sql) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run_on(|| repeatable, |checkout| run(checkout.sql()))
    }

    /// Runs a statement that writes to a part of the store. On a new connection, verifies that part first.
    pub(crate) fn run_verified<T, E: RoomError>(
        &self,
        verification: &Verification,
        repeatable: bool,
        mut run: impl FnMut(&mut dyn Sql) -> Result<T, E>,
    ) -> Result<T, E> {
        let is_sent = Cell::new(false);
        self.run_on(
            || repeatable || !is_sent.get(),
            |checkout| {
                is_sent.set(false);
                checkout.verify(verification)?;
                is_sent.set(true);
                run(checkout.sql())
            },
        )
    }

    /// Runs a verification even if it has passed before.
    pub(crate) fn verify(&self, verification: &Verification) -> Result<()> {
        self.run_on(|| true, |checkout| checkout.verify_anew(verification))
    }

    fn run_on<T, E: RoomError>(
        &self,
        is_repeatable: impl Fn() -> bool,
        mut run: impl FnMut(&mut Checkout) -> Result<T, E>,
    ) -> Result<T, E> {
        let in_transaction = Cell::new(false);
        let done = retry(
            &REPLACEMENTS,
            |_| {
                in_transaction.set(self.isolation().is_by_transaction());
                self.run_once(in_transaction.get(), &mut run)
            },
            |done| {
                done.as_ref().is_err_and(|error| {
                    may_repeat(error, is_repeatable())
                        || !in_transaction.get() && self.has_other_isolation(error)
                })
            },
        );
        match done {
            Ok(done) => done,
            Err(error) if is_repeatable() => Err(error.into()),
            Err(error) => Err(unknown_outcome(error).into()),
        }
    }

    /// Runs a statement over a connection that the caller keeps.
    pub(crate) fn run_over<T, E: RoomError>(
        &self,
        checkout: &mut Checkout,
        mut run: impl FnMut(&mut dyn Sql) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.isolation().is_by_transaction() {
            return checkout.run_in_transaction(&mut |checkout| run(checkout.sql()));
        }
        run(checkout.sql())
    }

    /// Runs a statement that cannot run in a transaction and may be repeated.
    pub(crate) fn run_outside<T, E: RoomError>(
        &self,
        mut run: impl FnMut(&mut dyn Sql) -> Result<T, E>,
    ) -> Result<T, E> {
        let done = retry(
            &REPLACEMENTS,
            |_| self.run_once(false, &mut |checkout| run(checkout.sql())),
            |done| done.as_ref().is_err_and(|error| may_repeat(error, true)),
        );
        done?
    }

    /// Whether a statement failed because it ran at another isolation level than READ COMMITTED. From then on, each
    /// statement runs in a transaction. The failed one stored nothing, so it may be repeated.
    fn has_other_isolation(&self, error: &DatabaseError) -> bool {
        if !may_be_isolation(error) {
            return false;
        }
        if self.isolation().is_by_transaction() {
            return true;
        }
        let Ok(mut checkout) = self.checkout() else {
            return false;
        };
        let rows = checkout.sql().query_unnamed(ISOLATION, &[]);
        let level = rows.ok().and_then(|rows| scalar::<String>(&rows).ok()?);
        let is_other = level.is_some_and(|level| level != READ_COMMITTED);
        if is_other {
            self.isolation().set_by_transaction();
        }
        is_other
    }

    /// The inner result is the statement's own; the outer error is the database's.
    fn run_once<T, E: RoomError>(
        &self,
        in_transaction: bool,
        run: &mut impl FnMut(&mut Checkout) -> Result<T, E>,
    ) -> Result<Result<T, E>> {
        let mut checkout = self.checkout()?;
        let done = if in_transaction {
            checkout.run_in_transaction(run)
        } else {
            run(&mut checkout)
        };
        let error = match done.map_err(E::into_database) {
            Ok(done) => return Ok(Ok(done)),
            Err(Err(error)) => return Ok(Err(error)),
            Err(Ok(error)) => error,
        };
        if names_dead_connection(&error) {
            self.discard(checkout);
        }
        Err(error)
    }
}

impl Checkout {
    /// Runs a statement in a transaction at READ COMMITTED. It does not set read or write mode: the role's default is
    /// deliberate.
    fn run_in_transaction<T, E: RoomError>(
        &mut self,
        run: &mut impl FnMut(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.sql()
            .batch(BEGIN_ALONE)
            .map_err(|source| DatabaseError::statement("begin a transaction", source))?;
        let done = run(self).and_then(|done| {
            self.sql()
                .batch(COMMIT)
                .map_err(|source| DatabaseError::statement("commit the transaction", source))?;
            Ok(done)
        });
        if done.is_err() && self.sql().batch("ROLLBACK").is_err() {
            self.poison();
        }
        done
    }
}

/// Whether another connection is needed. The pool drops a connection to a standby.
fn names_useless_connection(error: &DatabaseError) -> bool {
    names_dead_connection(error)
        || matches!(error, DatabaseError::Statement { source, .. } if is_wrong_server(source))
}

fn names_dead_connection(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::Statement { source, .. }
        if lost_server(source) || ended_by_server(source))
}

/// The server reports a closed connection or a resolved deadlock only if the statement did not commit.
fn may_repeat(error: &DatabaseError, repeatable: bool) -> bool {
    let DatabaseError::Statement { source, .. } = error else {
        return false;
    };
    if lost_server(source) {
        return repeatable;
    }
    ended_by_server(source) || is_wrong_server(source) || is_stale_plan(source) || is_victim(source)
}

fn unknown_outcome(error: DatabaseError) -> DatabaseError {
    match error {
        DatabaseError::Statement { source, .. } if lost_server(&source) => {
            DatabaseError::UnknownOutcome { source }
        }
        other => other,
    }
}

//! Failures between this program and the server: connections, statements, transactions, the schema.

use super::driver_error::{
    self, is_misfit, is_retryable, is_stale_plan, is_unavailable, lost_connection,
};
use super::endpoint::{ConnectError, ConnectionStringError};
use super::sqlstate::Meaning;
use postgres::error::SqlState;

pub(crate) type Result<T, E = DatabaseError> = std::result::Result<T, E>;

/// A failure between this program and the server.
///
/// The store and the documents wrap it as [`Error::Database`](crate::Error::Database) and as
/// [`pongo::Error::Database`](crate::pongo::Error::Database). Nothing was stored, except that the outcome is unknown after
/// [`UnknownOutcome`](DatabaseError::UnknownOutcome).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The database refused a statement, or the connection was lost before it answered.
    ///
    /// The text contains the database's whole message, so [`source`](std::error::Error::source) adds nothing. The same holds
    /// for the other variants that contain an error of the driver.
    #[error("the database refused to {doing}: {}", driver_error::reason(.r#source))]
    #[non_exhaustive]
    Statement {
        /// The attempted operation.
        doing: &'static str,
        /// The database's answer.
        r#source: postgres::Error,
    },
    /// An argument cannot be stored or makes no sense; nothing was sent. The store and the documents return it as their own
    /// `InvalidInput`.
    #[error("{what}: {reason}")]
    #[non_exhaustive]
    InvalidInput {
        /// The argument.
        what: String,
        /// The reason.
        reason: String,
    },
    /// A transaction cannot be committed, because one of its statements failed or something other than its session ended it.
    /// It is rolled back.
    #[error(
        "the transaction cannot be committed: a statement in it failed, or it was ended from outside: {}",
        driver_error::reason(.r#source)
    )]
    #[non_exhaustive]
    TransactionAborted {
        /// The database's answer.
        r#source: postgres::Error,
    },
    /// Code inside a transaction passed a statement that would end the transaction. The statement was not sent, and the
    /// transaction can only be rolled back.
    #[error(
        "{statement} is not allowed here, because the session ends the transaction: remove the statement"
    )]
    #[non_exhaustive]
    TransactionControl {
        /// The statement's first word.
        statement: String,
    },
    /// The connection was lost while the server may have been committing. It is unknown whether the write was stored; read
    /// to find out. Appends with caller-supplied message ids are retried automatically, because a repeat is idempotent.
    #[error(
        "the connection was lost during the commit, so it is unknown whether the write was stored; read to find out: {}",
        driver_error::reason(.r#source)
    )]
    #[non_exhaustive]
    UnknownOutcome {
        /// The cause of the lost connection.
        r#source: postgres::Error,
    },
    /// The database schema is missing, too old, newer than this library, or belongs to another program. The message names
    /// the case and the next step.
    #[error("{message}")]
    #[non_exhaustive]
    Schema {
        /// The case and the next step.
        message: String,
    },
    /// The database has everything that the store needs, but cannot be written to safely. Its sequences are lower than its
    /// tables, as after logical replication or an incomplete restore. The message names the case and the next step. Nothing
    /// was stored.
    #[error("{message}")]
    #[non_exhaustive]
    Inconsistent {
        /// The case and the next step.
        message: String,
    },
    /// A stored value that neither this library nor Emmett writes. It was not interpreted.
    #[error("{what} is stored as {value}, but must be {expected}")]
    #[non_exhaustive]
    StoredValue {
        /// The place of the value.
        what: String,
        /// The value.
        value: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// A declared collection or index cannot be created. Opening a store or a client returns the source itself.
    #[error(transparent)]
    #[non_exhaustive]
    Declared {
        /// A [`pongo::Error`](crate::pongo::Error).
        source: anyhow::Error,
    },
    /// The connection string is not valid.
    #[error("the connection string is not valid")]
    ConnectionString(#[source] ConnectionStringError),
    /// The server could not be reached, or refused the connection.
    #[error("cannot connect to {server}")]
    #[non_exhaustive]
    Connect {
        /// Host, port, database and user.
        server: String,
        /// The reason.
        source: ConnectError,
    },
    /// No connection of the pool became free within its connection timeout.
    #[error("no connection of the pool became free in time")]
    #[non_exhaustive]
    Pool {
        /// The pool's error.
        source: r2d2::Error,
    },
    /// The call came from inside an async runtime, which this library would block. Use `tokio::task::spawn_blocking` or a
    /// thread.
    #[error("called from inside an async runtime: call it from a thread or from spawn_blocking")]
    AsyncContext,
}

impl DatabaseError {
    /// Whether repeating the same call may succeed: see [`Error::is_retryable`](crate::Error::is_retryable).
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Pool { .. } => true,
            Self::Connect { source, .. } => last_attempt(source, Meaning::is_retryable),
            Self::Statement { source, .. } | Self::TransactionAborted { source } => {
                is_retryable(source)
            }
            _ => false,
        }
    }

    /// Whether it is unknown if the write was stored: see [`Error::is_outcome_unknown`](crate::Error::is_outcome_unknown).
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::UnknownOutcome { .. })
    }

    /// Whether the database could not be used: see [`Error::is_unavailable`](crate::Error::is_unavailable).
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Pool { .. } | Self::UnknownOutcome { .. } => true,
            Self::Connect { source, .. } => last_attempt(source, Meaning::is_unavailable),
            Self::Statement { source, .. } | Self::TransactionAborted { source } => {
                is_unavailable(source)
            }
            _ => false,
        }
    }

    /// Whether a statement failed because the schema changed after it was prepared. Nothing was stored.
    pub(crate) fn is_stale_plan(&self) -> bool {
        matches!(self, Self::Statement { source, .. } if is_stale_plan(source))
    }

    /// Whether a statement failed because the database and the program do not match. The mismatch stays until one is
    /// changed.
    pub(crate) fn is_misfit(&self) -> bool {
        matches!(self, Self::Statement { source, .. } if is_misfit(source))
    }

    /// Classifies a failed statement.
    pub(crate) fn statement(doing: &'static str, source: postgres::Error) -> Self {
        let ended = [
            SqlState::IN_FAILED_SQL_TRANSACTION,
            SqlState::NO_ACTIVE_SQL_TRANSACTION,
        ];
        if source.code().is_some_and(|code| ended.contains(code)) {
            return Self::TransactionAborted { source };
        }
        Self::Statement { doing, source }
    }

    /// An error about database objects that this library cannot use.
    pub(crate) fn schema(message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Schema { message }
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidInput {
            what: what.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn stored(
        what: impl Into<String>,
        value: impl Into<String>,
        expected: &'static str,
    ) -> Self {
        Self::StoredValue {
            what: what.into(),
            value: value.into(),
            expected,
        }
    }

    /// Returns the error of the driver, if this error contains one.
    pub(crate) fn driver(&self) -> Option<&postgres::Error> {
        match self {
            Self::Statement { source, .. }
            | Self::TransactionAborted { source }
            | Self::UnknownOutcome { source } => Some(source),
            _ => None,
        }
    }

    /// Returns the SQLSTATE with which the server refused a statement.
    pub(crate) fn sqlstate(&self) -> Option<&SqlState> {
        match self {
            Self::Statement { source, .. } => source.code(),
            _ => None,
        }
    }
}

/// Returns the driver's error that this cause is or contains.
pub(crate) fn of_cause<'e>(
    cause: &'e (dyn std::error::Error + 'static),
) -> Option<&'e postgres::Error> {
    cause
        .downcast_ref()
        .or_else(|| cause.downcast_ref::<DatabaseError>()?.driver())
}

/// An error of a higher room, which may wrap one of the database's.
pub(crate) trait RoomError: From<DatabaseError> {
    /// Returns the wrapped error of the database; otherwise the error itself.
    fn into_database(self) -> Result<DatabaseError, Self>;
}

impl RoomError for DatabaseError {
    fn into_database(self) -> Result<DatabaseError, Self> {
        Ok(self)
    }
}

/// Answers a question about the last attempt to connect. A wrong password or certificate is permanent.
fn last_attempt(error: &ConnectError, meets: fn(Meaning) -> bool) -> bool {
    let ConnectError::Failed { errors, .. } = error else {
        return false;
    };
    let last = errors.last();
    last.is_none_or(|error| match error.as_db_error() {
        Some(refusal) => meets(Meaning::of_refusal(refusal)),
        None => lost_connection(error),
    })
}

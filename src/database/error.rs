//! What fails between this program and the server: connections, statements, transactions, the schema.

use super::driver_error::{
    self, is_misfit, is_retryable, is_stale_plan, is_unavailable, lost_connection,
};
use super::endpoint::{ConnectError, ConnectionStringError};
use super::sqlstate::Meaning;
use postgres::error::SqlState;

pub(crate) type Result<T, E = DatabaseError> = std::result::Result<T, E>;

/// What failed between this program and the server.
///
/// The store and the documents wrap it: as [`Error::Database`](crate::Error::Database) and as
/// [`pongo::Error::Database`](crate::pongo::Error::Database). Nothing was stored, except after
/// [`UnknownOutcome`](DatabaseError::UnknownOutcome), where nobody can know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The database refused a statement, or the connection was lost before it answered.
    ///
    /// The text has all that the database said, so [`source`](std::error::Error::source) has nothing to add; nor has it in the
    /// other variants with an error of the driver.
    #[error("the database refused to {doing}: {}", driver_error::reason(.r#source))]
    #[non_exhaustive]
    Statement {
        /// What was attempted.
        doing: &'static str,
        /// What the database said.
        r#source: postgres::Error,
    },
    /// An argument cannot be stored or makes no sense; nothing was sent. The store and the documents return it as
    /// `InvalidInput` of their own.
    #[error("{what}: {reason}")]
    #[non_exhaustive]
    InvalidInput {
        /// Which argument.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A transaction cannot be committed, because one of its statements failed before or because it was ended by other
    /// means than its session. It was rolled back.
    #[error(
        "the transaction cannot be committed: a statement failed in it, or it was ended from outside: {}",
        driver_error::reason(.r#source)
    )]
    #[non_exhaustive]
    TransactionAborted {
        /// What the database said.
        r#source: postgres::Error,
    },
    /// A statement that would end the transaction was given to code that runs inside one. It was not sent, and the
    /// transaction cannot be committed any more.
    #[error("{statement} is not allowed here: the transaction belongs to the session")]
    #[non_exhaustive]
    TransactionControl {
        /// The statement's first word.
        statement: String,
    },
    /// The connection was lost while the server may have been committing. It is unknown whether the write was stored: read to
    /// find out. Appends with message ids of the caller's are retried instead, because a repeat is idempotent.
    #[error(
        "the connection was lost during the commit; it is unknown whether it happened: {}",
        driver_error::reason(.r#source)
    )]
    #[non_exhaustive]
    UnknownOutcome {
        /// How the connection was lost.
        r#source: postgres::Error,
    },
    /// The database schema is missing, old, newer than this library, or somebody else's. The message names the case and the
    /// next step.
    #[error("{message}")]
    #[non_exhaustive]
    Schema {
        /// The case, and the next step.
        message: String,
    },
    /// The database has all that the store needs, but not in a state in which it can be written to: its sequences are behind
    /// its tables, as after logical replication or a careless restore. The message names the case and the next step. Nothing
    /// was stored.
    #[error("{message}")]
    #[non_exhaustive]
    Inconsistent {
        /// The case, and the next step.
        message: String,
    },
    /// A stored value is none that this library, or Emmett, writes. Nothing was taken for it.
    #[error("{what} is stored as {value}, but must be {expected}")]
    #[non_exhaustive]
    StoredValue {
        /// Where it is stored.
        what: String,
        /// The value.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A declared collection or index cannot be created. A store or a client that is opened returns what the source is.
    #[error(transparent)]
    #[non_exhaustive]
    Declared {
        /// A [`pongo::Error`](crate::pongo::Error).
        source: anyhow::Error,
    },
    /// The connection string cannot be understood.
    #[error("the connection string is not valid")]
    ConnectionString(#[source] ConnectionStringError),
    /// The server could not be reached, or refused the connection.
    #[error("cannot connect to {server}")]
    #[non_exhaustive]
    Connect {
        /// Host, port, database and user.
        server: String,
        /// Why.
        source: ConnectError,
    },
    /// The pool had no connection within its connection timeout.
    #[error("no database connection became available")]
    #[non_exhaustive]
    Pool {
        /// What the pool said.
        source: r2d2::Error,
    },
    /// The caller stands inside an async runtime, which this library would block. Use
    /// `tokio::task::spawn_blocking` or a thread.
    #[error("called from inside an async runtime: call it from a thread or from spawn_blocking")]
    AsyncContext,
}

impl DatabaseError {
    /// Whether the same call may succeed when it is made again: see [`Error::is_retryable`](crate::Error::is_retryable).
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

    /// Whether a statement failed because the schema has changed since it was prepared; nothing was stored then.
    pub(crate) fn is_stale_plan(&self) -> bool {
        matches!(self, Self::Statement { source, .. } if is_stale_plan(source))
    }

    /// Whether a statement was refused because the database does not fit the program: that does not pass by itself.
    pub(crate) fn is_misfit(&self) -> bool {
        matches!(self, Self::Statement { source, .. } if is_misfit(source))
    }

    /// Gives a failed statement its meaning.
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

    /// The database has what this library cannot use.
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

    /// The error of the driver that it has.
    pub(crate) fn driver(&self) -> Option<&postgres::Error> {
        match self {
            Self::Statement { source, .. }
            | Self::TransactionAborted { source }
            | Self::UnknownOutcome { source } => Some(source),
            _ => None,
        }
    }

    /// With which SQLSTATE the server refused a statement.
    pub(crate) fn sqlstate(&self) -> Option<&SqlState> {
        match self {
            Self::Statement { source, .. } => source.code(),
            _ => None,
        }
    }
}

/// The error of the driver that one of the causes of an error is, or has.
pub(crate) fn of_cause<'e>(
    cause: &'e (dyn std::error::Error + 'static),
) -> Option<&'e postgres::Error> {
    cause
        .downcast_ref()
        .or_else(|| cause.downcast_ref::<DatabaseError>()?.driver())
}

/// The error of a room above, which may be one of the database's.
pub(crate) trait RoomError: From<DatabaseError> {
    /// The error of the database that this one is; else the error itself.
    fn into_database(self) -> Result<DatabaseError, Self>;
}

impl RoomError for DatabaseError {
    fn into_database(self) -> Result<DatabaseError, Self> {
        Ok(self)
    }
}

/// Answers a question about the last attempt to connect. A wrong password or certificate stays wrong.
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

//! Errors of the store, and how a caller can respond to each.

mod codec;
mod counted;
mod event_log;
mod panic;
mod processor;
mod projection;
pub(crate) mod run_report;
#[cfg(test)]
mod tests;

pub use codec::{DecodeError, EncodeError};
pub(crate) use counted::counted;
pub use event_log::EventLogError;
pub(crate) use panic::{ProcessEnd, caught};
pub use processor::ProcessorError;
pub use projection::ProjectionError;
pub(crate) use run_report::{ProcessorRun, RunEnd, RunReport};

pub use crate::json::JsonError;

use crate::database::{
    DatabaseError, ExpectedVersion, RoomError, is_retryable, is_stale_plan, is_unavailable,
};
use crate::pongo;
use postgres::error::SqlState;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the store.
///
/// An error names the operation that failed; its [`source`](std::error::Error::source) is the cause. Nothing was stored,
/// except that the outcome is unknown after [`DatabaseError::UnknownOutcome`].
///
/// Four questions tell how to respond without matching variants: [`is_conflict`](Error::is_conflict) (read and decide
/// again), [`is_retryable`](Error::is_retryable) (repeat the call), [`is_outcome_unknown`](Error::is_outcome_unknown) (read
/// to find out) and [`is_unavailable`](Error::is_unavailable) (wait for the database).
///
/// ```
/// use emmett_postgresql::{Error, database::DatabaseError};
///
/// fn advice(error: &Error) -> String {
///     match error {
///         Error::Conflict { stream, actual, .. } => format!("read {stream} up to version {actual}"),
///         Error::Database(DatabaseError::Connect { server, .. }) => format!("start {server}"),
///         error if error.is_outcome_unknown() => "find out whether it was stored".to_owned(),
///         error if error.is_retryable() => "try again".to_owned(),
///         error => error.to_string(),
///     }
/// }
/// # let refused = emmett_postgresql::EventStore::open("host=/nowhere dbname=shop user=anna");
/// # assert!(advice(&refused.expect_err("no server")).starts_with("start"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream was not at the expected version. Read it, decide and append again.
    #[error("stream \"{stream}\" is at version {actual}, expected {expected}")]
    #[non_exhaustive]
    Conflict {
        /// The stream's name.
        stream: String,
        /// The expected version of the append.
        expected: ExpectedVersion,
        /// The stream's version; 0 if it does not exist.
        actual: u64,
    },
    /// The stream is archived. [`unarchive_stream`](crate::EventStore::unarchive_stream) restores it.
    #[error("stream \"{stream}\" is archived at version {version}")]
    #[non_exhaustive]
    StreamArchived {
        /// The stream's name.
        stream: String,
        /// Its last version.
        version: u64,
    },
    /// A caller-supplied message id belongs to another message of the stream.
    #[error("stream \"{stream}\" has other messages under these message ids: use new ids")]
    #[non_exhaustive]
    MessageIdReused {
        /// The stream's name.
        stream: String,
        /// The database's answer.
        source: postgres::Error,
    },
    /// An argument cannot be stored or makes no sense; nothing was sent.
    #[error("{what}: {reason}")]
    #[non_exhaustive]
    InvalidInput {
        /// The argument.
        what: String,
        /// The reason.
        reason: String,
    },
    /// A message cannot be written as JSON that PostgreSQL stores unchanged; nothing was sent.
    #[error("a message for stream \"{stream}\" cannot be stored")]
    #[non_exhaustive]
    Encode {
        /// The stream's name.
        stream: String,
        /// The reason.
        source: EncodeError,
    },
    /// A stored message does not match the type that it was read as.
    #[error("message {version} of stream \"{stream}\", type \"{message_type}\", cannot be read")]
    #[non_exhaustive]
    Decode {
        /// The stream's name.
        stream: String,
        /// The message's version in the stream.
        version: u64,
        /// The message's type.
        message_type: String,
        /// The reason.
        source: DecodeError,
    },
    /// Messages of a stream are missing: they were deleted by hand, or row level security hides them from this role. Events
    /// read before the gap are correct, but a state without the missing ones is not.
    /// [`ReadOptions::allow_gaps`](crate::ReadOptions::allow_gaps) skips gaps.
    #[error("stream \"{stream}\": expected version {expected}, found {}: messages were deleted, or are hidden from this role",
            found.map_or_else(|| "no more".to_owned(), |found| found.to_string()))]
    #[non_exhaustive]
    StreamGap {
        /// The stream's name.
        stream: String,
        /// The version that should have come next.
        expected: u64,
        /// The version that came; `None` if the messages ended.
        found: Option<u64>,
    },
    /// The key of a command stands for a command with another content. Nothing was stored; give the new command a key of its
    /// own.
    #[error("command key \"{key}\" was used for a command with another content")]
    #[non_exhaustive]
    CommandKeyReused {
        /// The key.
        key: String,
    },
    /// The content or the reply of a command with a key cannot be kept as JSON, or the stored reply is not of the type that is
    /// asked for. Nothing was stored.
    #[error("the {part} of the command with key \"{key}\" does not fit")]
    #[non_exhaustive]
    CommandJson {
        /// The key.
        key: String,
        /// `content` or `reply`.
        part: &'static str,
        /// Why.
        source: JsonError,
    },
    /// A user's upcast hook refused a stored message.
    #[error("message {version} of stream \"{stream}\", type \"{message_type}\", cannot be upcast")]
    #[non_exhaustive]
    Upcast {
        /// The stream's name.
        stream: String,
        /// The message's version in the stream.
        version: u64,
        /// The message's type.
        message_type: String,
        /// The hook's error.
        source: anyhow::Error,
    },
    /// The store was restored or repaired after the reader saved its position. Other messages may now have positions up to
    /// it. Read from a position before the restore, or from the beginning.
    #[error(
        "the store is at epoch {actual}, but the position is of epoch {expected}: after a restore, other messages may have \
             positions up to it; read from a position before the restore"
    )]
    #[non_exhaustive]
    StoreEpoch {
        /// The epoch of the reader.
        expected: u64,
        /// The epoch of the store.
        actual: u64,
    },
    /// No tenant has this name. [`Tenants::add`](crate::events::Tenants::add) creates it.
    #[error("there is no tenant \"{tenant}\"")]
    #[non_exhaustive]
    UnknownTenant {
        /// The tenant's name.
        tenant: String,
    },
    /// The closure of a session failed, so the session was rolled back.
    #[error("the session failed and was rolled back")]
    #[non_exhaustive]
    Session {
        /// The closure's error.
        source: anyhow::Error,
    },
    /// A projection failed, does not match the store's, or cannot be rebuilt.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// A processor of a consumer failed, is held by another worker, or does not exist.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// A document, a filter, an update or a collection is invalid.
    #[error(transparent)]
    Document(pongo::Error),
    /// An import or an export failed because of its file.
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// The operating system could not start a thread.
    #[error("a thread could not be started")]
    #[non_exhaustive]
    Thread {
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A connection, a statement, a transaction or the schema failed.
    #[error(transparent)]
    Database(DatabaseError),
}

impl Error {
    /// Whether an append or the write of a document met another version than expected. Read, decide and write again;
    /// repeating the same call fails again.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Conflict { .. } => true,
            Self::Document(error) => error.is_conflict(),
            _ => false,
        }
    }

    /// Whether repeating the same call may succeed. Nothing was stored. Retryable errors are:
    ///
    /// - a deadlock, a serialization failure, a lock that was not granted in time, a timeout, a cancelled query;
    /// - a lost connection, a connection to a standby, a server that is starting or has no memory or disk left;
    /// - a pool without a free connection;
    /// - a statement that was prepared before a migration.
    ///
    /// Version conflicts are not retryable, because the decision has to be made again. Unknown outcomes are not retryable
    /// either.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database(error) => error.is_retryable(),
            Self::Document(error) => error.is_retryable(),
            Self::Projection(ProjectionError::Failed { source, .. }) | Self::Session { source } => {
                has_cause(source, is_retryable)
            }
            _ => false,
        }
    }

    /// Whether another transaction was in the way: a deadlock, or a serialization failure.
    pub(crate) fn is_contention(&self) -> bool {
        const CODES: [SqlState; 2] = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
        ];
        let is_contention =
            |error: &postgres::Error| error.code().is_some_and(|code| CODES.contains(code));
        match self {
            Self::Database(error) => error.driver().is_some_and(is_contention),
            Self::Projection(ProjectionError::Failed { source, .. }) => {
                has_cause(source, is_contention)
            }
            _ => false,
        }
    }

    /// Whether it is unknown if the write was stored, because the connection was lost while the server may have been
    /// committing. Read to find out before repeating the call.
    ///
    /// Appends with caller-supplied message ids are retried automatically, because a repeat is idempotent.
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Database(error) => error.is_outcome_unknown(),
            Self::Document(error) => error.is_outcome_unknown(),
            _ => false,
        }
    }

    /// Whether the database could not be used. The server cannot be reached, is a standby, is starting or shutting down, or
    /// has no connection, memory or disk left. Or the connection was lost, or the pool has no free connection. Pause before
    /// the next call, and fail a health check.
    ///
    /// Such an error is retryable unless its [outcome is unknown](Error::is_outcome_unknown).
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) => error.is_unavailable(),
            Self::Document(error) => error.is_unavailable(),
            Self::Projection(ProjectionError::Failed { source, .. }) | Self::Session { source } => {
                has_cause(source, is_unavailable)
            }
            _ => false,
        }
    }

    /// Whether a statement failed because the schema changed after it was prepared. Nothing was stored.
    pub(crate) fn is_stale_plan(&self) -> bool {
        match self {
            Self::Database(error) => error.is_stale_plan(),
            Self::Projection(ProjectionError::Failed { source, .. }) => {
                has_cause(source, is_stale_plan)
            }
            _ => false,
        }
    }

    /// Whether the program's inline projections are not registered in the partition.
    pub(crate) fn is_unregistered_projection(&self) -> bool {
        matches!(self, Self::Projection(error) if error.is_unregistered())
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        DatabaseError::invalid(what, reason).into()
    }

    /// An error about a stored value that this library does not write.
    pub(crate) fn stored(
        what: impl Into<String>,
        value: impl Into<String>,
        expected: &'static str,
    ) -> Self {
        DatabaseError::stored(what, value, expected).into()
    }

    /// An error about database objects that this library cannot use.
    pub(crate) fn schema(message: impl Into<String>) -> Self {
        DatabaseError::schema(message).into()
    }

    /// An error of a user's projection.
    pub(crate) fn projection(projection: impl Into<String>, source: anyhow::Error) -> Self {
        let projection = projection.into();
        ProjectionError::Failed { projection, source }.into()
    }

    /// An error of a processor.
    pub(crate) fn processor(processor: impl Into<String>, source: anyhow::Error) -> Self {
        let processor = processor.into();
        ProcessorError::Failed {
            processor,
            cause: source,
        }
        .into()
    }

    /// Classifies a failed statement.
    pub(crate) fn database(doing: &'static str, source: postgres::Error) -> Self {
        DatabaseError::statement(doing, source).into()
    }

    /// Converts the error of a session's closure: an error of this crate keeps its type.
    pub(crate) fn of_closure(error: anyhow::Error) -> Self {
        Self::ours(error).unwrap_or_else(|source| Self::Session { source })
    }

    fn ours(error: anyhow::Error) -> Result<Self, anyhow::Error> {
        error
            .downcast::<Self>()
            .or_else(|error| error.downcast::<pongo::Error>().map(Self::from))
            .or_else(|error| error.downcast::<DatabaseError>().map(Self::from))
    }
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Statement { doing, source } => {
                match ProjectionError::of_refusal(source) {
                    Ok(error) => error.into(),
                    Err(source) => Self::Database(DatabaseError::Statement { doing, source }),
                }
            }
            DatabaseError::InvalidInput { what, reason } => Self::InvalidInput { what, reason },
            DatabaseError::Declared { source } => source.downcast::<pongo::Error>().map_or_else(
                |source| Self::Database(DatabaseError::Declared { source }),
                Self::from,
            ),
            other => Self::Database(other),
        }
    }
}

impl From<pongo::Error> for Error {
    fn from(error: pongo::Error) -> Self {
        match error {
            pongo::Error::Database(error) => error.into(),
            pongo::Error::InvalidInput { what, reason } => Self::InvalidInput { what, reason },
            pongo::Error::UnknownTenant { tenant, .. } => Self::UnknownTenant { tenant },
            // The closure of a client's transaction may have used a store.
            pongo::Error::Transaction { source } => Self::ours(source)
                .unwrap_or_else(|source| Self::Document(pongo::Error::Transaction { source })),
            other => Self::Document(other),
        }
    }
}

impl RoomError for Error {
    fn into_database(self) -> Result<DatabaseError, Self> {
        match self {
            Self::Database(error) => Ok(error),
            other => Err(other),
        }
    }
}

/// Whether one of the causes of a user's error is an error of the driver that meets the condition, or has one.
fn has_cause(error: &anyhow::Error, meets: fn(&postgres::Error) -> bool) -> bool {
    error
        .chain()
        .any(|cause| driver_of(cause).is_some_and(meets))
}

fn driver_of<'e>(cause: &'e (dyn std::error::Error + 'static)) -> Option<&'e postgres::Error> {
    pongo::of_cause(cause).or_else(|| match cause.downcast_ref::<Error>()? {
        Error::Database(error) => error.driver(),
        Error::Document(error) => error.driver(),
        _ => None,
    })
}

/// An error with its causes.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// Whether user code failed because the database was not there, rather than by its own fault.
pub(crate) fn is_database_cause(error: &anyhow::Error) -> bool {
    error.chain().any(is_database_failure)
}

fn is_database_failure(cause: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = cause.downcast_ref::<Error>() {
        return error.is_retryable() || error.is_outcome_unknown();
    }
    if let Some(error) = cause.downcast_ref::<pongo::Error>() {
        return error.is_retryable() || error.is_outcome_unknown();
    }
    if let Some(error) = cause.downcast_ref::<DatabaseError>() {
        return error.is_retryable() || error.is_outcome_unknown();
    }
    cause.downcast_ref().is_some_and(is_retryable)
}

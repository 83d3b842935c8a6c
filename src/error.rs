//! What can go wrong, and what the caller can do about it.

use crate::database::endpoint::{ConnectError, ConnectionStringError};
use crate::database::position::ExpectedVersion;
use crate::events::codec::{DecodeError, EncodeError};
use crate::pongo::document_version::DocumentConflict;
use crate::pongo::filter::FilterError;
use crate::pongo::update::UpdateError;
use postgres::error::SqlState;

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
///
/// An error says what was attempted; its [`source`](std::error::Error::source) says why it failed. Nothing was stored,
/// except after [`Error::UnknownOutcome`], where nobody can know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream was not at the expected version. Read it again, decide again, append again.
    #[error("stream \"{stream}\" is at version {actual}, expected {expected}")]
    Conflict {
        /// The stream's name.
        stream: String,
        /// What the append expected.
        expected: ExpectedVersion,
        /// Where the stream is; 0 when it does not exist.
        actual: u64,
    },
    /// The stream is archived. [`unarchive_stream`](crate::EventStore::unarchive_stream) brings it back.
    #[error("stream \"{stream}\" is archived at version {version}")]
    StreamArchived {
        /// The stream's name.
        stream: String,
        /// Its last version.
        version: u64,
    },
    /// A message id that the caller gave is in the stream already, and names another message there.
    #[error("stream \"{stream}\" has other messages under these message ids")]
    MessageIdReused {
        /// The stream's name.
        stream: String,
        /// What the database said.
        source: postgres::Error,
    },
    /// An argument cannot be stored or makes no sense; nothing was sent.
    #[error("{what}: {reason}")]
    InvalidInput {
        /// Which argument.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A message cannot be written as JSON that PostgreSQL keeps unchanged; nothing was sent.
    #[error("a message for stream \"{stream}\" cannot be stored")]
    Encode {
        /// The stream's name.
        stream: String,
        /// Why.
        source: EncodeError,
    },
    /// A stored message does not fit the type that it was read as.
    #[error("message {version} of stream \"{stream}\", type \"{message_type}\", cannot be read")]
    Decode {
        /// The stream's name.
        stream: String,
        /// The message's version in the stream.
        version: u64,
        /// The message's type.
        message_type: String,
        /// Why.
        source: DecodeError,
    },
    /// A user's upcast hook refused a stored message.
    #[error("message {version} of stream \"{stream}\", type \"{message_type}\", cannot be upcast")]
    Upcast {
        /// The stream's name.
        stream: String,
        /// The message's version in the stream.
        version: u64,
        /// The message's type.
        message_type: String,
        /// What the hook returned.
        source: anyhow::Error,
    },
    /// No tenant of that name. [`Tenants::add`](crate::Tenants::add) creates it.
    #[error("there is no tenant \"{tenant}\"")]
    UnknownTenant {
        /// The tenant's name.
        tenant: String,
    },
    /// No processor of that name has ever run here. The message names those that have.
    #[error("there is no processor \"{processor}\"{}", known_processors(.known))]
    UnknownProcessor {
        /// The name that was asked for.
        processor: String,
        /// The names of the processors that there are.
        known: Vec<String>,
    },
    /// A processor is held by a running worker, so it cannot be forgotten. Stop that one first.
    #[error("processor \"{processor}\" is held by \"{owner}\": stop it first")]
    ProcessorHeld {
        /// The processor's name.
        processor: String,
        /// Who holds it.
        owner: String,
    },
    /// A projection failed: an inline one, so the append that it belongs to was rolled back, or one that was being rebuilt.
    #[error("projection \"{projection}\" failed")]
    Projection {
        /// The projection's name.
        projection: String,
        /// What the projection returned.
        source: anyhow::Error,
    },
    /// The store's projections and this program's do not fit: another version is active, the read model is stale, or it is kept
    /// inline here and by a consumer there. The message names the projection and the versions.
    #[error("{message}")]
    ProjectionMismatch {
        /// What does not fit.
        message: String,
        /// What the database said.
        source: postgres::Error,
    },
    /// Another program is rebuilding the projection, or has taken over from this one, which was thought dead.
    #[error("projection \"{projection}\" is being rebuilt by another program")]
    RebuildRunning {
        /// The projection's name.
        projection: String,
    },
    /// The new read model is built, but could not take the place of the live one in time, which is unchanged.
    #[error("the rebuilt projection \"{projection}\" could not take its place: {reason}")]
    RebuildBlocked {
        /// The projection's name.
        projection: String,
        /// Who was in the way.
        reason: String,
    },
    /// The operating system gave no thread.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
    /// The closure of a session failed, so the session was rolled back.
    #[error("the session failed and was rolled back")]
    Session {
        /// What the closure returned.
        source: anyhow::Error,
    },
    /// A transaction cannot be committed, because one of its statements failed before or because it was ended by other
    /// means than its session. It was rolled back.
    #[error(
        "the transaction cannot be committed: a statement failed in it, or it was ended from outside"
    )]
    TransactionAborted {
        /// What the database said.
        source: postgres::Error,
    },
    /// A statement that would end the transaction was given to code that runs inside one. It was not sent, and the
    /// transaction cannot be committed any more.
    #[error("{statement} is not allowed here: the transaction belongs to the session")]
    TransactionControl {
        /// The statement's first word.
        statement: String,
    },
    /// The connection was lost while the server may have been committing: the append is stored, or it is not. Read the
    /// stream to find out. Appends whose messages carry ids of the caller's are repeated instead, which is safe.
    #[error("the connection was lost during the commit; it is unknown whether it happened")]
    UnknownOutcome {
        /// How the connection was lost.
        source: postgres::Error,
    },
    /// The database schema is missing, old, newer than this library, or somebody else's. The message says which, and what
    /// to do.
    #[error("{0}")]
    Schema(String),
    /// The connection string cannot be understood.
    #[error("the connection string is not valid")]
    ConnectionString(#[source] ConnectionStringError),
    /// The server could not be reached, or refused the connection.
    #[error("cannot connect to {server}")]
    Connect {
        /// Host, port, database and user.
        server: String,
        /// Why.
        source: ConnectError,
    },
    /// The pool had no connection within its connection timeout.
    #[error("no database connection became available")]
    Pool(#[source] r2d2::Error),
    /// The caller stands inside an async runtime, which this library would block. Use
    /// `tokio::task::spawn_blocking` or a thread.
    #[error("called from inside an async runtime: call it from a thread or from spawn_blocking")]
    AsyncContext,
    /// A filter or sort document is not valid.
    #[error("the filter is not valid")]
    Filter(#[source] FilterError),
    /// There is no collection of that name, and it may not be created on its first use here.
    #[error(
        "there is no collection \"{collection}\": create it first, or let the client or store migrate"
    )]
    UnknownCollection {
        /// The collection's name.
        collection: String,
        /// What the database said.
        source: postgres::Error,
    },
    /// An update document is not valid.
    #[error("the update is not valid")]
    Update(#[source] UpdateError),
    /// An update does not fit a document, for example because `$inc` meets a string. The message names operator and field.
    #[error("the update does not fit the document: {message}")]
    UpdateRefused {
        /// What does not fit.
        message: String,
        /// What the database said.
        source: postgres::Error,
    },
    /// A document is not what a write expected. Read it again, decide again, write again.
    #[error("{0}")]
    DocumentConflict(DocumentConflict),
    /// The handler of a document failed, so nothing was written.
    #[error("the handler of document \"{id}\" of collection \"{collection}\" failed")]
    Handler {
        /// The collection's name.
        collection: String,
        /// The document's id.
        id: String,
        /// What the handler returned.
        source: anyhow::Error,
    },
    /// An upcast or downcast hook of a collection failed.
    #[error("{} cannot be brought into its other form", named(collection, id.as_deref()))]
    DocumentHook {
        /// The collection's name.
        collection: String,
        /// The document's id; `None` where it was to be written.
        id: Option<String>,
        /// What the hook returned.
        source: anyhow::Error,
    },
    /// The collection is the read model of a registered projection, which would go on without it.
    #[error("{message}")]
    ReadModel {
        /// Which collection, and which projection.
        message: String,
        /// What the database said.
        source: postgres::Error,
    },
    /// There is something else under the name of an index. Give one of them [another name](crate::pongo::Index::named), or
    /// drop what is there.
    #[error("index \"{index}\" of collection \"{collection}\" is not what was declared: {reason}")]
    IndexMismatch {
        /// The collection's name.
        collection: String,
        /// The index's name.
        index: String,
        /// What is there.
        reason: String,
    },
    /// A document has the same values as another one in the fields of a unique index.
    #[error(
        "collection \"{collection}\" has a document with equal values: index \"{index}\" is unique"
    )]
    NotUnique {
        /// The collection's name.
        collection: String,
        /// The index's name.
        index: String,
        /// What the database said.
        source: postgres::Error,
    },
    /// A document is in the collection, but not as the caller expected it.
    #[error("document \"{id}\" of collection \"{collection}\" is already there")]
    DocumentExists {
        /// The collection's name.
        collection: String,
        /// The document's id.
        id: String,
    },
    /// A document cannot be written as, or read from, JSON.
    #[error("{} cannot be {}", named(collection, id.as_deref()), if id.is_some() { "read" } else { "converted" })]
    Document {
        /// The collection's name.
        collection: String,
        /// The document's id; `None` where it was to be written, and for the values of `distinct`.
        id: Option<String>,
        /// Why.
        source: crate::json::JsonError,
    },
    /// A line of an import cannot be stored. Nothing of its batch was; the batches before it are.
    #[error("line {line}: {reason}")]
    ImportLine {
        /// The line's number; the first line is 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A processor has stopped, or cannot be started. [`EventStore::processors`](crate::EventStore::processors) lists all.
    #[error("processor \"{processor}\" failed")]
    ProcessorFailed {
        /// The processor's name.
        processor: String,
        /// Why: an [`Error`] of the database, or what the handler returned, with the message that it could not handle.
        source: anyhow::Error,
    },
    /// Another process runs the processor, and it can only run once.
    #[error("processor \"{processor}\" is run by another process: {owner}")]
    ProcessorBusy {
        /// The processor's name.
        processor: String,
        /// Who runs it.
        owner: String,
    },
    /// A processor has not come to a position in time.
    #[error("processor \"{processor}\" has not reached position {position} in time{}", reached.map_or_else(
        || ": nobody has started it yet".to_owned(), |reached| format!(": it is at {reached}")))]
    WaitTimeout {
        /// The processor's name.
        processor: String,
        /// The position that was waited for.
        position: u64,
        /// Where the processor is; `None` when it was never started.
        reached: Option<u64>,
    },
    /// The message that was waited for is parked: the processor could not handle it, or an earlier one of its stream.
    #[error("processor \"{processor}\" has parked the message at position {position}{}", because(.error.as_deref()))]
    MessageParked {
        /// The processor's name.
        processor: String,
        /// The message's global position.
        position: u64,
        /// What the handler said; `None` when it waits behind another message of its stream.
        error: Option<String>,
    },
    /// Reading the file of an import or writing that of an export failed.
    #[error("reading or writing the event log failed")]
    Io(#[from] std::io::Error),
    /// The database refused a statement.
    #[error("the database refused to {doing}{}", detail(.source))]
    Database {
        /// What was attempted.
        doing: &'static str,
        /// What the database said.
        source: postgres::Error,
    },
}

fn because(error: Option<&str>) -> String {
    error.map_or_else(
        || ": it waits behind an earlier one of its stream".to_owned(),
        |error| format!(": {error}"),
    )
}

fn known_processors(known: &[String]) -> String {
    if known.is_empty() {
        return "; there are none".to_owned();
    }
    let names: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
    format!("; there are: {}", names.join(", "))
}

fn detail(source: &postgres::Error) -> String {
    source
        .as_db_error()
        .map_or_else(String::new, |error| format!(": {}", error.message()))
}

/// A document, as messages name it.
fn named(collection: &str, id: Option<&str>) -> String {
    match id {
        Some(id) => format!("document \"{id}\" of collection \"{collection}\""),
        None => format!("a document of collection \"{collection}\""),
    }
}

impl Error {
    /// Whether an append, or the write of a document, met another version than it expected.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::DocumentConflict(_))
    }

    /// Whether the same call may succeed when it is made again: a deadlock, a serialization failure, a lost connection, a
    /// server that is starting, a pool without a free connection, a statement that was prepared before a migration. Version conflicts are not transient: the decision has
    /// to be made again. Nor is an unknown outcome.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Pool(_) => true,
            Self::Connect { source, .. } => may_pass(source),
            Self::Database { source, .. } | Self::TransactionAborted { source } => {
                is_transient(source)
            }
            Self::Projection { source, .. } | Self::Session { source } => {
                has_cause(source, is_transient)
            }
            _ => false,
        }
    }

    /// Whether a statement failed because the schema has changed since it was prepared; nothing was stored then.
    pub(crate) fn is_stale_plan(&self) -> bool {
        match self {
            Self::Database { source, .. } => is_stale_plan(source),
            Self::Projection { source, .. } => has_cause(source, is_stale_plan),
            _ => false,
        }
    }

    /// Whether the partition does not know the program's inline projections.
    pub(crate) fn is_unregistered_projection(&self) -> bool {
        matches!(self, Self::ProjectionMismatch { source, .. }
            if source.code().is_some_and(|code| code.code() == "SE011"))
    }

    pub(crate) fn is_deadlock(&self) -> bool {
        matches!(self, Self::Database { source, .. }
            if source.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED))
    }

    pub(crate) fn is_undefined_table(&self) -> bool {
        matches!(self, Self::Database { source, .. } if Self::names_no_table(source))
    }

    pub(crate) fn names_no_table(source: &postgres::Error) -> bool {
        source.code() == Some(&SqlState::UNDEFINED_TABLE)
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidInput {
            what: what.into(),
            reason: reason.into(),
        }
    }

    /// Gives a failed statement its meaning.
    pub(crate) fn database(doing: &'static str, source: postgres::Error) -> Self {
        let Some(code) = source.code() else {
            return Self::Database { doing, source };
        };
        if *code == SqlState::IN_FAILED_SQL_TRANSACTION
            || *code == SqlState::NO_ACTIVE_SQL_TRANSACTION
        {
            return Self::TransactionAborted { source };
        }
        match code.code() {
            "SE010" | "SE011" | "SE012" | "SE013" => {
                let message =
                    source
                        .as_db_error()
                        .map_or_else(String::new, |error| match error.hint() {
                            Some(hint) => format!("{}. {hint}", error.message()),
                            None => error.message().to_owned(),
                        });
                Self::ProjectionMismatch { message, source }
            }
            "SE031" => {
                let message = source
                    .as_db_error()
                    .map_or_else(String::new, |error| error.message().to_owned());
                Self::UpdateRefused { message, source }
            }
            _ => Self::Database { doing, source },
        }
    }

    /// The error of a statement in a partition's tables: where they are missing, so is the tenant.
    pub(crate) fn in_partition(
        doing: &'static str,
        partition: &str,
        source: postgres::Error,
    ) -> Self {
        let missing = [
            SqlState::UNDEFINED_TABLE,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::CHECK_VIOLATION,
        ];
        let is_unknown = source.code().is_some_and(|code| code.code() == "SE005");
        let is_missing = source.code().is_some_and(|code| missing.contains(code));
        if is_unknown || is_missing && names_partition(&source) {
            return Self::UnknownTenant {
                tenant: partition.to_owned(),
            };
        }
        Self::database(doing, source)
    }
}

fn names_partition(error: &postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        let message = error.message();
        message.contains("emt_streams")
            || message.contains("emt_messages")
            || message.contains("emt_projections")
            || message.contains("emt_append_in_")
            || message.contains("emt_feed_in_")
    })
}

/// A server that cannot be reached or is starting may be there later; a wrong password or certificate stays wrong.
fn may_pass(error: &ConnectError) -> bool {
    match error {
        ConnectError::Failed { errors, .. } => errors.last().is_none_or(is_transient),
        _ => false,
    }
}

/// Whether user code failed because the database was not there, rather than by its own fault.
pub(crate) fn is_transient_cause(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<Error>().is_some_and(|error| {
            error.is_transient() || matches!(error, Error::UnknownOutcome { .. })
        }) || cause.downcast_ref().is_some_and(is_transient)
    })
}

fn has_cause(error: &anyhow::Error, meets: fn(&postgres::Error) -> bool) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref().is_some_and(meets))
}

/// The connection has forgotten the statement already; prepared again, it works.
fn is_stale_plan(error: &postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        error
            .message()
            .contains("cached plan must not change result type")
            || (error.message().contains("prepared statement")
                && error.message().contains("does not exist"))
    })
}

fn is_transient(error: &postgres::Error) -> bool {
    let transient = [
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::TOO_MANY_CONNECTIONS,
    ];
    match error.code() {
        Some(code) => transient.contains(code) || ended_by_server(error) || is_stale_plan(error),
        None => error.is_closed() || lost_connection(error),
    }
}

/// Whether the server ended the session and said so: what it was doing was rolled back.
pub(crate) fn ended_by_server(error: &postgres::Error) -> bool {
    let ending = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    error
        .code()
        .is_some_and(|code| ending.contains(code) || code.code() == "57P05")
}

/// Whether the connection broke without a word from the server.
pub(crate) fn lost_connection(error: &postgres::Error) -> bool {
    use std::error::Error as _;
    error.code().is_none()
        && (error.is_closed()
            || error
                .source()
                .is_some_and(<dyn std::error::Error>::is::<std::io::Error>))
}

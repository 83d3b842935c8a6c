//! What can go wrong with documents, and what the caller can do about it.

use super::filter::FilterError;
use super::update::UpdateError;
use crate::database::{self, DatabaseError, RoomError, is_retryable, is_unavailable};
use crate::json::JsonError;
use crate::pongo::document::DocumentConflict;
use postgres::error::SqlState;

/// The result of operations on documents.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// With which SQLSTATE an update is refused.
const UPDATE_REFUSED: &str = "SE031";
/// With which SQLSTATE a guarded read is refused.
const READ_REFUSED: &str = "SE014";

/// With which SQLSTATE a tenant is refused that an event store does not know. The detail is its name.
const UNKNOWN_TENANT: &str = "SE005";

/// What went wrong with documents.
///
/// Nothing was written, except after [`DatabaseError::UnknownOutcome`], where nobody can know. The event store returns it as
/// [`Error::Document`](crate::Error::Document); what the database said, or [`InvalidInput`](Error::InvalidInput), as its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A document is not what a write expected. Read it again, decide again, write again.
    #[error("{0}")]
    Conflict(DocumentConflict),
    /// A document is in the collection, but not as the caller expected it.
    #[error("document \"{id}\" of collection \"{collection}\" is already there")]
    #[non_exhaustive]
    Exists {
        /// The collection's name.
        collection: String,
        /// The document's id.
        id: String,
    },
    /// A document has the same values as another one in the fields of a unique index.
    #[error(
        "collection \"{collection}\" has a document with equal values: index \"{index}\" is unique"
    )]
    #[non_exhaustive]
    NotUnique {
        /// The collection's name.
        collection: String,
        /// The index's name.
        index: String,
        /// What the database said.
        r#source: postgres::Error,
    },
    /// An argument cannot be stored or makes no sense; nothing was sent.
    #[error("{what}: {reason}")]
    #[non_exhaustive]
    InvalidInput {
        /// Which argument.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A filter or sort document is not valid.
    #[error("the filter is not valid")]
    Filter(#[source] FilterError),
    /// An update document is not valid.
    #[error("the update is not valid")]
    Update(#[source] UpdateError),
    /// An update does not fit a document, for example because `$inc` meets a string. The message names operator and field.
    #[error("the update does not fit the document: {message}")]
    #[non_exhaustive]
    UpdateRefused {
        /// What does not fit.
        message: String,
        /// What the database said.
        r#source: postgres::Error,
    },
    /// A document cannot be written as, or read from, JSON.
    #[error("{} cannot be {}", named(collection, id.as_deref()), if id.is_some() { "read" } else { "converted" })]
    #[non_exhaustive]
    Json {
        /// The collection's name.
        collection: String,
        /// The document's id; `None` where it was to be written, and for the values of `distinct`.
        id: Option<String>,
        /// Why.
        source: JsonError,
    },
    /// An upcast or downcast hook of a collection failed.
    #[error("{} cannot be brought into its other form", named(collection, id.as_deref()))]
    #[non_exhaustive]
    Hook {
        /// The collection's name.
        collection: String,
        /// The document's id; `None` where it was to be written.
        id: Option<String>,
        /// What the hook returned.
        source: anyhow::Error,
    },
    /// The handler of a document failed, so nothing was written.
    #[error("the handler of document \"{id}\" of collection \"{collection}\" failed")]
    #[non_exhaustive]
    Handler {
        /// The collection's name.
        collection: String,
        /// The document's id.
        id: String,
        /// What the handler returned.
        source: anyhow::Error,
    },
    /// The closure of a transaction failed, so the transaction is rolled back.
    #[error("the transaction failed and was rolled back")]
    #[non_exhaustive]
    Transaction {
        /// What the closure returned.
        source: anyhow::Error,
    },
    /// There is no collection of that name, and it may not be created on its first use here.
    #[error(
        "there is no collection \"{collection}\": create it first, or let the client or store migrate"
    )]
    #[non_exhaustive]
    UnknownCollection {
        /// The collection's name.
        collection: String,
        /// What the database said.
        r#source: postgres::Error,
    },
    /// The event store in the same schema has no tenant of that name. [`Tenants::add`](crate::events::Tenants::add) creates it. The event
    /// store returns its own [`UnknownTenant`](crate::Error::UnknownTenant).
    #[error("there is no tenant \"{tenant}\": add it to the event store first")]
    #[non_exhaustive]
    UnknownTenant {
        /// The tenant's name.
        tenant: String,
        /// What the database said.
        source: postgres::Error,
    },
    /// The collection is the read model of a registered projection, which would go on without it.
    #[error("{message}")]
    #[non_exhaustive]
    ReadModel {
        /// Which collection, and which projection.
        message: String,
        /// What the database said.
        r#source: postgres::Error,
    },
    /// The collection was to be read [only if it is right](crate::projection::ReadModel), and that is not known of it. The message names
    /// the state of its projection, and the lowest position that it misses.
    #[error("{message}")]
    #[non_exhaustive]
    NotActive {
        /// Which projection, and what is the matter with it.
        message: String,
        /// What the database said.
        r#source: postgres::Error,
    },
    /// There is something else under the name of an index. Give one of them [another name](super::index::Index::named), or drop what
    /// is there.
    #[error("index \"{index}\" of collection \"{collection}\" is not what was declared: {reason}")]
    #[non_exhaustive]
    IndexMismatch {
        /// The collection's name.
        collection: String,
        /// The index's name.
        index: String,
        /// What is there.
        reason: String,
    },
    /// A connection, a statement or a transaction failed.
    #[error(transparent)]
    Database(DatabaseError),
}

/// A document, as messages name it.
fn named(collection: &str, id: Option<&str>) -> String {
    match id {
        Some(id) => format!("document \"{id}\" of collection \"{collection}\""),
        None => format!("a document of collection \"{collection}\""),
    }
}

impl Error {
    /// Whether a document was at another version than the write expected. Read it again, decide again, write again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// Whether the same call may succeed when it is made again: see [`Error::is_retryable`](crate::Error::is_retryable).
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database(error) => error.is_retryable(),
            Self::Transaction { source } => has_cause(source, is_retryable),
            _ => false,
        }
    }

    /// Whether it is unknown if the write was stored: see [`Error::is_outcome_unknown`](crate::Error::is_outcome_unknown).
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_outcome_unknown())
    }

    /// Whether the database could not be used: see [`Error::is_unavailable`](crate::Error::is_unavailable).
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) => error.is_unavailable(),
            Self::Transaction { source } => has_cause(source, is_unavailable),
            _ => false,
        }
    }

    /// The error of the driver that it has.
    pub(crate) fn driver(&self) -> Option<&postgres::Error> {
        match self {
            Self::Database(error) => error.driver(),
            Self::NotUnique { source, .. }
            | Self::UpdateRefused { source, .. }
            | Self::UnknownCollection { source, .. }
            | Self::ReadModel { source, .. }
            | Self::NotActive { source, .. } => Some(source),
            _ => None,
        }
    }

    pub(super) fn is_undefined_table(&self) -> bool {
        self.is_refused_with(&SqlState::UNDEFINED_TABLE)
    }

    pub(super) fn is_deadlock(&self) -> bool {
        self.is_refused_with(&SqlState::T_R_DEADLOCK_DETECTED)
    }

    /// Where the table was missing, the collection is.
    pub(super) fn about_collection(self, collection: &str) -> Self {
        match self {
            Self::Database(DatabaseError::Statement { source, .. })
                if source.code() == Some(&SqlState::UNDEFINED_TABLE) =>
            {
                Self::UnknownCollection {
                    collection: collection.to_owned(),
                    source,
                }
            }
            other => other,
        }
    }

    fn is_refused_with(&self, code: &SqlState) -> bool {
        matches!(self, Self::Database(error) if error.sqlstate() == Some(code))
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        DatabaseError::invalid(what, reason).into()
    }

    /// Gives a failed statement its meaning.
    pub(crate) fn database(doing: &'static str, source: postgres::Error) -> Self {
        DatabaseError::statement(doing, source).into()
    }

    /// What the closure of a transaction returned: an error of this crate keeps its type.
    pub(super) fn of_closure(error: anyhow::Error) -> Self {
        error
            .downcast::<Self>()
            .or_else(|error| error.downcast::<DatabaseError>().map(Self::from))
            .unwrap_or_else(|source| Self::Transaction { source })
    }

    /// The error of a declared collection, as the migration of a schema returns it.
    pub(super) fn into_declared(self) -> DatabaseError {
        match self {
            Self::Database(error) => error,
            Self::InvalidInput { what, reason } => DatabaseError::InvalidInput { what, reason },
            other => DatabaseError::Declared {
                source: other.into(),
            },
        }
    }
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::InvalidInput { what, reason } => Self::InvalidInput { what, reason },
            DatabaseError::Declared { source } => source
                .downcast()
                .unwrap_or_else(|source| Self::Database(DatabaseError::Declared { source })),
            DatabaseError::Statement { source, .. } if is_refused(&source, UPDATE_REFUSED) => {
                Self::UpdateRefused {
                    message: message(&source),
                    source,
                }
            }
            DatabaseError::Statement { source, .. } if is_refused(&source, UNKNOWN_TENANT) => {
                Self::UnknownTenant {
                    tenant: detail(&source),
                    source,
                }
            }
            DatabaseError::Statement { source, .. } if is_refused(&source, READ_REFUSED) => {
                Self::NotActive {
                    message: message(&source),
                    source,
                }
            }
            other => Self::Database(other),
        }
    }
}

/// The error of the driver that one of the causes of an error is, or has.
pub(crate) fn of_cause<'e>(
    cause: &'e (dyn std::error::Error + 'static),
) -> Option<&'e postgres::Error> {
    database::of_cause(cause).or_else(|| cause.downcast_ref::<Error>()?.driver())
}

/// Whether one of the causes of a user's error is an error of the driver that meets the condition.
fn has_cause(error: &anyhow::Error, meets: fn(&postgres::Error) -> bool) -> bool {
    error
        .chain()
        .any(|cause| of_cause(cause).is_some_and(meets))
}

fn is_refused(error: &postgres::Error, sqlstate: &str) -> bool {
    error.code().is_some_and(|code| code.code() == sqlstate)
}

fn message(error: &postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(String::new, |error| error.message().to_owned())
}

fn detail(error: &postgres::Error) -> String {
    let detail = error.as_db_error().and_then(|error| error.detail());
    detail.unwrap_or_default().to_owned()
}

impl RoomError for Error {
    fn into_database(self) -> Result<DatabaseError, Self> {
        match self {
            Self::Database(error) => Ok(error),
            other => Err(other),
        }
    }
}

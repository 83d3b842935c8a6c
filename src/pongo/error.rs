//! Errors of document operations.

use super::filter::FilterError;
use super::update::UpdateError;
use crate::database::{self, DatabaseError, RoomError, is_retryable, is_unavailable};
use crate::json::JsonError;
use crate::pongo::document::DocumentConflict;
use postgres::error::SqlState;

/// The result of operations on documents.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// SQLSTATE of a refused update.
const UPDATE_REFUSED: &str = "SE031";
/// SQLSTATE of a refused guarded read.
const READ_REFUSED: &str = "SE014";

/// SQLSTATE of a tenant that the event store does not know. The detail is the tenant's name.
const UNKNOWN_TENANT: &str = "SE005";

/// An error of a document operation.
///
/// Nothing was written, except that the outcome of [`DatabaseError::UnknownOutcome`] is unknown. The event store returns this
/// error as [`Error::Document`](crate::Error::Document). It returns database errors and [`InvalidInput`](Error::InvalidInput)
/// as its own variants.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A document does not meet the expectation of a write. Read it again, decide again, write again.
    #[error("{0}")]
    Conflict(DocumentConflict),
    /// The document already exists.
    #[error("document \"{id}\" of collection \"{collection}\" is already there")]
    #[non_exhaustive]
    Exists {
        /// The collection's name.
        collection: String,
        /// The document's id.
        id: String,
    },
    /// Another document has the same values in the fields of a unique index.
    #[error(
        "collection \"{collection}\" has a document with equal values: index \"{index}\" is unique"
    )]
    #[non_exhaustive]
    NotUnique {
        /// The collection's name.
        collection: String,
        /// The index's name.
        index: String,
        /// The database's error.
        r#source: postgres::Error,
    },
    /// An argument is invalid or cannot be stored. Nothing was sent.
    #[error("{what}: {reason}")]
    #[non_exhaustive]
    InvalidInput {
        /// The argument.
        what: String,
        /// The reason.
        reason: String,
    },
    /// A filter or sort document is invalid.
    #[error("the filter is not valid")]
    Filter(#[source] FilterError),
    /// An update document is invalid.
    #[error("the update is not valid")]
    Update(#[source] UpdateError),
    /// An update does not fit a document, for example because `$inc` meets a string. The message names operator and field.
    #[error("the update does not fit the document: {message}")]
    #[non_exhaustive]
    UpdateRefused {
        /// The mismatch.
        message: String,
        /// The database's error.
        r#source: postgres::Error,
    },
    /// A document cannot be serialized as JSON, or deserialized from it.
    #[error("{} cannot be {}", named(collection, id.as_deref()), if id.is_some() { "read" } else { "converted" })]
    #[non_exhaustive]
    Json {
        /// The collection's name.
        collection: String,
        /// The document's id; `None` for a write, and for the values of `distinct`.
        id: Option<String>,
        /// The cause.
        source: JsonError,
    },
    /// An upcast or downcast hook of a collection failed.
    #[error("{} cannot be brought into its other form", named(collection, id.as_deref()))]
    #[non_exhaustive]
    Hook {
        /// The collection's name.
        collection: String,
        /// The document's id; `None` for a write.
        id: Option<String>,
        /// The hook's error.
        source: anyhow::Error,
    },
    /// The handler of a document failed. Nothing was written.
    #[error("the handler of document \"{id}\" of collection \"{collection}\" failed")]
    #[non_exhaustive]
    Handler {
        /// The collection's name.
        collection: String,
        /// The document's id.
        id: String,
        /// The handler's error.
        source: anyhow::Error,
    },
    /// The closure of a transaction failed. The transaction was rolled back.
    #[error("the transaction failed and was rolled back")]
    #[non_exhaustive]
    Transaction {
        /// The closure's error.
        source: anyhow::Error,
    },
    /// The collection does not exist, and may not be created on its first use here.
    #[error(
        "there is no collection \"{collection}\": create it first, or let the client or store migrate"
    )]
    #[non_exhaustive]
    UnknownCollection {
        /// The collection's name.
        collection: String,
        /// The database's error.
        r#source: postgres::Error,
    },
    /// The event store in the same schema has no tenant of that name. [`Tenants::add`](crate::events::Tenants::add) creates it.
    /// The event store returns its own [`UnknownTenant`](crate::Error::UnknownTenant).
    #[error("there is no tenant \"{tenant}\": add it to the event store first")]
    #[non_exhaustive]
    UnknownTenant {
        /// The tenant's name.
        tenant: String,
        /// The database's error.
        source: postgres::Error,
    },
    /// The collection is the read model of a registered projection, which would continue without it.
    #[error("{message}")]
    #[non_exhaustive]
    ReadModel {
        /// The collection and the projection.
        message: String,
        /// The database's error.
        r#source: postgres::Error,
    },
    /// The read required [an active read model](crate::projection::ReadModel), and its projection is not active. The message
    /// names the state of the projection, and the lowest missing position.
    #[error("{message}")]
    #[non_exhaustive]
    NotActive {
        /// The projection and its state.
        message: String,
        /// The database's error.
        r#source: postgres::Error,
    },
    /// A different object has the name of an index. Give the index [another name](super::index::Index::named), or drop the
    /// object.
    #[error("index \"{index}\" of collection \"{collection}\" is not what was declared: {reason}")]
    #[non_exhaustive]
    IndexMismatch {
        /// The collection's name.
        collection: String,
        /// The index's name.
        index: String,
        /// The existing object.
        reason: String,
    },
    /// A connection, a statement or a transaction failed.
    #[error(transparent)]
    Database(DatabaseError),
}

/// Returns the description of a document for messages.
fn named(collection: &str, id: Option<&str>) -> String {
    match id {
        Some(id) => format!("document \"{id}\" of collection \"{collection}\""),
        None => format!("a document of collection \"{collection}\""),
    }
}

impl Error {
    /// Returns whether a document had another version than the write expected. Read it again, decide again, write again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// Returns whether a retry of the same call may succeed: see [`Error::is_retryable`](crate::Error::is_retryable).
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database(error) => error.is_retryable(),
            Self::Transaction { source } => has_cause(source, is_retryable),
            _ => false,
        }
    }

    /// Returns whether it is unknown if the write was stored: see
    /// [`Error::is_outcome_unknown`](crate::Error::is_outcome_unknown).
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_outcome_unknown())
    }

    /// Returns whether the database was unavailable: see [`Error::is_unavailable`](crate::Error::is_unavailable).
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) => error.is_unavailable(),
            Self::Transaction { source } => has_cause(source, is_unavailable),
            _ => false,
        }
    }

    /// Returns the driver's error, if there is one.
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

    /// Converts a missing table into a missing collection.
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

    /// Converts the error of a failed statement.
    pub(crate) fn database(doing: &'static str, source: postgres::Error) -> Self {
        DatabaseError::statement(doing, source).into()
    }

    /// Converts the error of a transaction's closure. An error of this crate keeps its type.
    pub(super) fn of_closure(error: anyhow::Error) -> Self {
        error
            .downcast::<Self>()
            .or_else(|error| error.downcast::<DatabaseError>().map(Self::from))
            .unwrap_or_else(|source| Self::Transaction { source })
    }

    /// Returns the error of a declared collection, as the migration of a schema returns it.
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

/// Returns the driver's error among the causes of an error.
pub(crate) fn of_cause<'e>(
    cause: &'e (dyn std::error::Error + 'static),
) -> Option<&'e postgres::Error> {
    database::of_cause(cause).or_else(|| cause.downcast_ref::<Error>()?.driver())
}

/// Returns whether a user's error is caused by a driver's error that meets the condition.
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

//! Where a write expects a document to be.

use crate::database::position::to_sql;
use std::fmt;

/// What a document must be for a write to go on.
///
/// It is checked in the statement that writes, under the lock of the document: of any number of concurrent writes that expect
/// the same version, one wins; the others get [`Error::Conflict`](crate::pongo::Error::Conflict) with the actual
/// version, or report it where they are asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExpectedDocument {
    /// Whatever it is; never conflicts. The default.
    #[default]
    Any,
    /// It exists, at any version.
    Exists,
    /// It does not exist. The same as `Version(0)`.
    DoesNotExist,
    /// It has this version: 1 after it was inserted, and one more after each change.
    Version(u64),
}

impl ExpectedDocument {
    /// The form that the statements take.
    pub(crate) fn as_sql(self) -> Option<i64> {
        match self {
            Self::Any => None,
            Self::Exists => Some(-1),
            Self::DoesNotExist => Some(0),
            Self::Version(version) => Some(to_sql(version)),
        }
    }

    /// Whether a document of this version is what was expected; 0 is one that does not exist.
    pub(crate) fn is_met_by(self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Exists => version > 0,
            Self::DoesNotExist => version == 0,
            Self::Version(expected) => version == expected,
        }
    }
}

impl From<u64> for ExpectedDocument {
    fn from(version: u64) -> Self {
        Self::Version(version)
    }
}

impl fmt::Display for ExpectedDocument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("any version"),
            Self::Exists => formatter.write_str("an existing document"),
            Self::DoesNotExist => formatter.write_str("no document"),
            Self::Version(version) => write!(formatter, "version {version}"),
        }
    }
}

/// A document was not what a write expected; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DocumentConflict {
    /// The collection's name.
    pub collection: String,
    /// The document's id; `None` where no document matched the filter.
    pub id: Option<String>,
    /// What the write expected.
    pub expected: ExpectedDocument,
    /// The document's version; 0 when there is none.
    pub actual: u64,
}

impl fmt::Display for DocumentConflict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            collection,
            id,
            expected,
            actual,
        } = self;
        match (id, actual) {
            (None, _) => write!(
                formatter,
                "no document of collection \"{collection}\" matches the filter, expected {expected}"
            ),
            (Some(id), 0) => write!(
                formatter,
                "there is no document \"{id}\" in collection \"{collection}\", expected {expected}"
            ),
            (Some(id), actual) => write!(
                formatter,
                "document \"{id}\" of collection \"{collection}\" is at version {actual}, expected {expected}"
            ),
        }
    }
}

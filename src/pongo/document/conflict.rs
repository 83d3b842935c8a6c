//! The conflict of a write with a document's version.

use crate::database::ExpectedVersion;
use std::fmt;

/// A conflict: a document did not meet the expectation of a write. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DocumentConflict {
    /// The collection's name.
    pub collection: String,
    /// The document's id; `None` if no document matched the filter.
    pub id: Option<String>,
    /// The expectation of the write.
    pub expected: ExpectedVersion,
    /// The document's version; 0 if it does not exist.
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

//! A document that is not what a write expects.

use crate::database::ExpectedVersion;
use std::fmt;

/// A document was not what a write expected; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DocumentConflict {
    /// The collection's name.
    pub collection: String,
    /// The document's id; `None` where no document matched the filter.
    pub id: Option<String>,
    /// What the write expected.
    pub expected: ExpectedVersion,
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

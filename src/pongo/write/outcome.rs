//! Results of writes.

use crate::pongo::document::DocumentConflict;

/// An inserted document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inserted {
    /// The document's id: its field `_id`, or a new UUID.
    pub id: String,
    /// The document's version: 1.
    pub version: u64,
}

/// Result of a write of one document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Updated {
    /// Whether a document matched.
    pub matched: bool,
    /// Whether the document was changed. An update without an effect changes neither the document nor its version.
    pub modified: bool,
    /// Whether a document was inserted, because no document matched.
    pub inserted: bool,
    /// The id of the document that matched or was inserted.
    pub id: Option<String>,
    /// The document's version now.
    pub version: Option<u64>,
    /// The conflict, if the options report it. Nothing was written then.
    pub conflict: Option<DocumentConflict>,
}

/// Result of a write of all matching documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UpdatedMany {
    /// Number of documents that matched.
    pub matched: u64,
    /// Number of documents that were changed.
    pub modified: u64,
}

/// Result of a deletion of one document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Deleted {
    /// The id of the deleted document; `None` if no document matched.
    pub id: Option<String>,
    /// The conflict, if the options report it. Nothing was deleted then.
    pub conflict: Option<DocumentConflict>,
}

impl Deleted {
    /// Returns whether a document was deleted.
    pub fn is_deleted(&self) -> bool {
        self.id.is_some()
    }
}

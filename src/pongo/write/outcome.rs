//! What writes have done.

use crate::pongo::document::DocumentConflict;

/// A document that was inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inserted {
    /// Its id: that of its field `_id`, or a new UUID.
    pub id: String,
    /// Its version: 1.
    pub version: u64,
}

/// What a write of one document has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Updated {
    /// Whether a document matched.
    pub matched: bool,
    /// Whether it was changed. An update that leaves a document as it is does not change it, nor its version.
    pub modified: bool,
    /// Whether a document was inserted, because none matched.
    pub inserted: bool,
    /// The id of the document that matched or was inserted.
    pub id: Option<String>,
    /// Its version now.
    pub version: Option<u64>,
    /// What stood against the write, where the options ask for a report; nothing was written then.
    pub conflict: Option<DocumentConflict>,
}

/// What a write of all documents that match has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UpdatedMany {
    /// How many documents matched.
    pub matched: u64,
    /// How many of them were changed.
    pub modified: u64,
}

/// What a deletion of one document has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Deleted {
    /// The id of the document that was deleted; `None` where none matched.
    pub id: Option<String>,
    /// What stood against the deletion, where the options ask for a report.
    pub conflict: Option<DocumentConflict>,
}

impl Deleted {
    /// Whether a document was deleted.
    pub fn is_deleted(&self) -> bool {
        self.id.is_some()
    }
}

//! Stored documents.

mod by_id;
mod conflict;
mod stored;
mod table;
mod write_error;

pub(crate) use by_id::{DocumentWrite, Put, WriteRules, WrittenDocument};
pub use conflict::DocumentConflict;
pub(crate) use stored::{DOCUMENT, StoredDocument};
pub(crate) use table::{
    CollectionSql, DocumentTable, EncodedDocument, check_ids, check_name, new_id, other_id,
};

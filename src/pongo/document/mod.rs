//! Documents as they are stored.

mod stored;
mod table;
mod version;
mod write_error;

pub(crate) use stored::{DOCUMENT, StoredDocument, Take};
pub(crate) use table::{
    CollectionSql, DocumentTable, EncodedDocument, check_ids, check_name, new_id,
};
pub use version::{DocumentConflict, ExpectedDocument};

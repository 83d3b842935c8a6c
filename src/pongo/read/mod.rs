//! Reading documents.

pub(crate) mod cursor;
pub(crate) mod find;
pub(crate) mod page;

//! Documents as they are stored.

pub(crate) mod stored;
pub(crate) mod table;
pub(crate) mod version;
mod write_error;

//! Indexes of collections.

pub(crate) mod build;
pub(crate) mod declaration;
pub(crate) mod indexes;

//! Indexes of collections.

pub(crate) mod build;
mod collection;
pub(crate) mod declaration;
pub(crate) mod indexes;

//! Indexes of collections.

pub(crate) mod build;
pub(crate) mod catalog;
pub(crate) mod declaration;

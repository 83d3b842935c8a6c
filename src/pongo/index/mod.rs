//! Indexes of collections.

pub(crate) mod build;
pub(crate) mod catalog;
mod declaration;

pub(crate) use catalog::Found;
pub use declaration::{Index, IndexDescription};

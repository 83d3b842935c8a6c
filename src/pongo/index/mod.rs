//! Indexes of collections.

pub(crate) mod build;
mod catalog;
mod declaration;
mod definition;

pub(crate) use catalog::{Catalog, Found};
pub use declaration::{Index, IndexDescription};

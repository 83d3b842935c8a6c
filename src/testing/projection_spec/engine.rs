//! What runs the projection of a specification: memory, or a server.

use crate::error::Result;
use crate::events::stream::StreamAppend;
use serde_json::Value;
use std::collections::BTreeMap;

/// Runs the projection of a specification.
pub trait Engine {
    /// Appends messages and lets the projection handle them. Returns their global positions.
    fn append(&mut self, append: StreamAppend) -> Result<Vec<u64>>;

    /// Lets the projection handle recorded messages again: those of each append, by their global positions.
    fn repeat(&mut self, appends: &[Vec<u64>]) -> Result<()>;

    /// Returns everything that the projection has written, as it is stored, by the place that a failure names.
    fn state(&mut self) -> Result<BTreeMap<String, Value>>;

    /// Returns the documents, with `_id` and `_version`.
    fn documents(&mut self) -> Result<BTreeMap<String, Value>>;
}

/// Returns the place of a document in the state of an engine.
pub(super) fn document_place(id: &str) -> String {
    format!("document {id:?}")
}

//! What runs the projection of a specification: memory, or a server.

use crate::error::{Error, Result};
use crate::events::stream::StreamAppend;
use crate::events::{AppendOptions, Appendable};
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

/// Encodes events as for an append.
#[track_caller]
pub(super) fn prepared<A: Appendable>(stream: &str, events: &[A]) -> StreamAppend {
    match AppendOptions::new().prepare(stream, events) {
        Ok(append) => append,
        Err(error) => panic!("the events cannot be appended: {}", error_text(error)),
    }
}

/// Returns the text of an error and its causes.
pub(super) fn error_text(error: Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

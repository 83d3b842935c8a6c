//! Event logs as files: one JSON object a line, in global order.
//!
//! `{"streamName": "Cart-1", "type": "ItemAdded", "data": {…}, "metadata": {…}}`, and, where they are known, `messageId`,
//! `streamPosition`, `kind` (`"event"` or `"command"`) and `schemaVersion`.

mod batch;
mod export;
#[cfg(test)]
mod fuzz;
mod import;
mod import_options;
mod line;
mod progress;

pub use export::{ExportOptions, ExportReport};
pub use import_options::{ImportOptions, ImportProgress, ImportReport};

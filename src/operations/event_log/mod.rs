//! Event logs as files: one JSON object a line, in global order.
//!
//! A message: `{"streamName": "Cart-1", "type": "ItemAdded", "data": {…}, "metadata": {…}}`, and, where they are known,
//! `messageId`, `streamPosition`, `kind` (`"event"` or `"command"`), `schemaVersion`, `recordedAt` and `globalPosition`.
//!
//! The state of a stream, after its messages: `{"streamName": "Cart-1", "archived": true, "streamMetadata": {…}}`.

mod batch;
mod export;
mod export_options;
mod first_bytes;
#[cfg(test)]
mod fuzz;
mod import;
mod import_options;
mod line;
mod line_fault;
mod progress;
mod recorded_at;
mod stream_batch;

pub use export_options::{ExportOptions, ExportProgress, ExportReport};
pub use import_options::{ImportOptions, ImportProgress, ImportReport};

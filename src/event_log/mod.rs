//! Event logs as files: one JSON object a line, in global order.
//!
//! `{"streamName": "Cart-1", "type": "ItemAdded", "data": {…}, "metadata": {…}}`, and, where they are known, `messageId`,
//! `streamPosition`, `kind` (`"event"` or `"command"`) and `schemaVersion`.

mod export;
mod import;
mod line;
mod progress;

pub use export::{ExportOptions, ExportReport};
pub use import::{ImportOptions, ImportProgress, ImportReport};

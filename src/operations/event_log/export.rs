//! Exporting the feed as an event log.

use super::line::Line;
use crate::error::{EventLogError, Result};
use crate::events::{FeedOptions, RawEvent, RecordedMessage};
use crate::store::EventStore;
use std::io::Write;

/// Which part of the feed is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportOptions {
    after: u64,
}

impl ExportOptions {
    /// The whole feed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins behind this global position. Defaults to 0, the beginning.
    #[must_use]
    pub fn after(mut self, position: u64) -> Self {
        self.after = position;
        self
    }
}

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExportReport {
    /// How many messages were written.
    pub messages: u64,
    /// Where to go on: no message at or below this position is missing.
    pub position: u64,
}

impl EventStore {
    /// Writes the feed as an event log, which [`import`](EventStore::import) reads: one JSON object a line, in global order,
    /// archived streams included.
    ///
    /// # Errors
    /// [`EventLogError::Io`] when writing fails, and those of reading the feed.
    pub fn export(&self, mut log: impl Write, options: ExportOptions) -> Result<ExportReport> {
        let mut feed = self.read_all::<RawEvent>(FeedOptions::new().after(options.after));
        let mut report = ExportReport {
            messages: 0,
            position: options.after,
        };
        while let Some(message) = feed.next_message() {
            write_line(&mut log, &message?).map_err(|source| EventLogError::Io { source })?;
            report.messages += 1;
        }
        log.flush().map_err(|source| EventLogError::Io { source })?;
        report.position = feed.position();
        Ok(report)
    }
}

fn write_line(log: &mut impl Write, message: &RecordedMessage) -> std::io::Result<()> {
    serde_json::to_writer(&mut *log, &Line::of(message)?)?;
    log.write_all(b"\n")
}

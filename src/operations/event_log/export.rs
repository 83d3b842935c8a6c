//! Exporting the feed as an event log.

use super::export_options::{ExportOptions, ExportProgress, ExportReport};
use super::line::Line;
use crate::database::PooledTransaction;
use crate::error::{EventLogError, Result};
use crate::events::{FeedOptions, RawEvent, stream_states};
use crate::store::EventStore;
use std::io::Write;

impl EventStore {
    /// Writes the feed as an event log, for [`import`](EventStore::import). The log has one JSON object a line, in
    /// global order, and includes archived streams. Lines at the end give the archived streams and the metadata of
    /// streams.
    ///
    /// An import into an empty store and a second export give the same log, except for `globalPosition`. With
    /// [`positions(false)`](ExportOptions::positions), the logs are identical byte for byte.
    ///
    /// An export [after](ExportOptions::after) a position continues a log: the concatenated parts are a log. Each
    /// part ends with the state of the streams at that time, and the last state counts.
    ///
    /// # Errors
    /// [`EventLogError::Io`] when writing fails, and the errors of reading the feed.
    ///
    /// ```
    /// # use emmett_postgresql::operations::{ExportOptions, ImportOptions};
    /// # use emmett_postgresql::{EventStore, RawEvent};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (database, other) = (emmett_postgresql::testing::database()?, emmett_postgresql::testing::database()?);
    /// # let (store, empty) = (EventStore::open(database.url())?, EventStore::open(other.url())?);
    /// # store.append_to_stream("Cart-1", &[RawEvent::new("Opened", serde_json::json!({}))])?;
    /// let mut log = Vec::new();
    /// let options = ExportOptions::new()
    ///     .positions(false)
    ///     .on_progress(|progress| println!("{} of {}", progress.position, progress.end));
    /// store.export(&mut log, options)?;
    ///
    /// empty.import(log.as_slice(), ImportOptions::new())?;
    /// let mut again = Vec::new();
    /// empty.export(&mut again, ExportOptions::new().positions(false))?;
    /// assert_eq!(log, again);
    /// # Ok(())
    /// # }
    /// ```
    pub fn export(
        &self,
        mut log: impl Write,
        mut options: ExportOptions<'_>,
    ) -> Result<ExportReport> {
        let mut feed = self.read_all::<RawEvent>(FeedOptions::new().after(options.after));
        let mut report = ExportReport::default();
        while let Some(message) = feed.next_message() {
            let message = message?;
            message.refuse_damaged()?;
            // An import parses the metadata, too, and would fail if it is invalid.
            message.parse_metadata()?;
            write_line(&mut log, &Line::of_message(&message, options.positions)?)?;
            report.messages += 1;
            if feed.is_between_pages() {
                (options.progress)(ExportProgress {
                    messages: report.messages,
                    position: feed.position(),
                    end: feed.horizon(),
                });
            }
        }
        report.position = feed.position();
        report.streams = self.export_states(&mut log, report.position)?;
        log.flush().map_err(|source| EventLogError::Io { source })?;
        (options.progress)(ExportProgress {
            messages: report.messages,
            position: report.position,
            end: report.position,
        });
        Ok(report)
    }

    /// Writes the states after the messages, because an import needs the stream first. It uses a transaction, because
    /// a single statement would be retried after an error, although its lines are already written.
    fn export_states(&self, log: &mut impl Write, up_to: u64) -> Result<u64> {
        let mut written = 0;
        let mut transaction = PooledTransaction::begin(self.connections())?;
        stream_states::read(transaction.sql(), self.partition(), up_to, &mut |state| {
            written += 1;
            write_line(&mut *log, &Line::of_stream(&state)?)
        })?;
        transaction.commit()?;
        Ok(written)
    }
}

fn write_line(log: &mut impl Write, line: &Line<'_>) -> Result<()> {
    serde_json::to_writer(&mut *log, line)
        .map_err(std::io::Error::from)
        .and_then(|()| log.write_all(b"\n"))
        .map_err(|source| EventLogError::Io { source })?;
    Ok(())
}

//! Exporting the feed as an event log.

use super::export_options::{ExportOptions, ExportProgress, ExportReport};
use super::line::Line;
use crate::database::PooledTransaction;
use crate::error::{EventLogError, Result};
use crate::events::{FeedOptions, RawEvent, stream_states};
use crate::store::EventStore;
use std::io::Write;

impl EventStore {
    /// Writes the feed as an event log, which [`import`](EventStore::import) reads: one JSON object a line, in global order,
    /// archived streams included. Lines at the end say which streams are archived, and what metadata streams have.
    ///
    /// Imported into an empty store, the log gives the same log again, but for `globalPosition`: with
    /// [`positions(false)`](ExportOptions::positions), byte for byte.
    ///
    /// An export [after](ExportOptions::after) a position continues a log: the parts, one after the other, are a log. The state
    /// of the streams stands at the end of each part, as it was then, and the last one counts.
    ///
    /// # Errors
    /// [`EventLogError::Io`] when writing fails, and those of reading the feed.
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
            // The import reads them, too: metadata that cannot be read would end there.
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

    /// After the messages: an import needs the stream first. In a transaction, because a statement on its own would be repeated
    /// after an error, and lines are written already.
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

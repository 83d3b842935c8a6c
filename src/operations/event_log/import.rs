//! Importing an event log: in batches, in the file's order, once.

use super::batch::{self, BatchLine};
use super::first_bytes;
use super::import_options::{ImportOptions, ImportProgress, ImportReport};
use super::line::Entry;
use super::progress::{ImportedPart, LinesDigest};
use super::stream_batch::StreamBatch;
use crate::database::{PooledTransaction, check_key};
use crate::error::{Error, EventLogError, Result};
use crate::events::Partition;
use crate::store::EventStore;
use std::io::BufRead;

impl EventStore {
    /// Imports an event log: one JSON object a line, in the order of the lines.
    ///
    /// A message is `{"streamName": "Cart-1", "type": "ItemAdded", "data": {…}}`. These keys are optional:
    /// - `metadata`, `messageId`, `kind` (`"event"` or `"command"`), `schemaVersion`;
    /// - `recordedAt`: when it was recorded; without it, now. A time more than five minutes in the server's future is refused;
    /// - `streamPosition`: its version. The line is refused where the stream is elsewhere;
    /// - `globalPosition`: for those who read the log. The import draws positions anew.
    ///
    /// A line about a stream comes after the stream's messages: `{"streamName": "Cart-1", "archived": true, "streamMetadata": {…}}`.
    /// The first moves the stream with its messages to the archive, or back with `false`; the second replaces its metadata,
    /// whatever they were. What a line does not say stays as it is. Messages of a stream that is archived are refused.
    ///
    /// Blank lines and UTF-8's byte order mark at the beginning count for nothing. A key that is not named here is refused.
    ///
    /// Inline projections of other programs follow, as after every append without them.
    ///
    /// An import that was interrupted goes on where it stopped when it is run again with the same log; so does the import of a
    /// log that has grown at its end. A log that was imported already changes nothing.
    ///
    /// # Errors
    /// [`EventLogError::Line`] names the first bad line; nothing of its batch is stored, the batches before it are.
    pub fn import(&self, log: impl BufRead, options: ImportOptions<'_>) -> Result<ImportReport> {
        if let Some(name) = &options.name {
            check_key("the name of the import", name)?;
        }
        if options.batch_size == 0 {
            return Err(Error::invalid("the batch size", "must be at least 1"));
        }
        self.prepare_projections()?;
        let mut import = Import::new(self, options);
        import.run(log)?;
        Ok(import.report)
    }
}

/// A batch of large lines is stored before it has all that it could have.
const MOST_BYTES: usize = 16 * 1024 * 1024;

struct Import<'s, 'p> {
    store: &'s EventStore,
    options: ImportOptions<'p>,
    name: String,
    digest: LinesDigest,
    /// What an earlier import has stored of the log.
    earlier: ImportedPart,
    /// What is stored of the log.
    stored: u64,
    bytes: u64,
    /// One of the two is empty: each takes the rows of its streams in the order of their names.
    messages: Vec<BatchLine>,
    streams: StreamBatch,
    /// How many bytes of the log the batch has.
    batch_bytes: usize,
    report: ImportReport,
}

impl<'s, 'p> Import<'s, 'p> {
    fn new(store: &'s EventStore, mut options: ImportOptions<'p>) -> Self {
        Self {
            store,
            name: options.name.take().unwrap_or_default(),
            options,
            digest: LinesDigest::default(),
            earlier: ImportedPart::default(),
            stored: 0,
            bytes: 0,
            messages: Vec::new(),
            streams: StreamBatch::default(),
            batch_bytes: 0,
            report: ImportReport::default(),
        }
    }

    fn partition(&self) -> &'s Partition {
        self.store.partition()
    }

    fn run(&mut self, mut log: impl BufRead) -> Result<()> {
        let mut text = Vec::new();
        loop {
            text.clear();
            let read = log
                .read_until(b'\n', &mut text)
                .map_err(|source| EventLogError::Io { source })?;
            if read == 0 {
                break;
            }
            self.take(&text)?;
            self.bytes += read as u64;
            self.batch_bytes += read;
            if self.batch_lines() == self.options.batch_size || self.batch_bytes >= MOST_BYTES {
                self.store_batch()?;
            }
        }
        if self.report.lines < self.earlier.lines {
            return Err(self.differs(format!(
                "the log ends here, but {} lines of it",
                self.earlier.lines
            )));
        }
        self.store_batch()
    }

    fn batch_lines(&self) -> usize {
        self.messages.len() + self.streams.len()
    }

    fn take(&mut self, line: &[u8]) -> Result<()> {
        let number = self.report.lines + 1;
        let fault = |reason| {
            Error::EventLog(EventLogError::Line {
                line: number,
                reason,
            })
        };
        let mut text = line.trim_ascii_end();
        if number == 1 {
            // As they are in the file: zeros are blanks to nobody, and half of a character in UTF-16.
            text = first_bytes::check(line).map_err(fault)?.trim_ascii_end();
            self.find_earlier(text)?;
        }
        if number > self.earlier.lines && !text.is_empty() {
            let entry = Entry::parse(text, line.ends_with(b"\n")).map_err(fault)?;
            self.add(number, entry)?;
        }
        self.count(text)
    }

    /// A line of another kind begins another batch, while the line is not counted yet.
    fn add(&mut self, number: u64, entry: Entry) -> Result<()> {
        let begins_batch = match entry {
            Entry::Message(_) => self.streams.len() > 0,
            Entry::Stream(_) => !self.messages.is_empty(),
        };
        if begins_batch {
            self.store_batch()?;
        }
        match entry {
            Entry::Message(entry) => self.messages.push(BatchLine { number, entry }),
            Entry::Stream(entry) => self.streams.add(number, entry),
        }
        Ok(())
    }

    fn count(&mut self, text: &[u8]) -> Result<()> {
        self.report.lines += 1;
        self.digest.add(text);
        if self.report.lines <= self.earlier.lines {
            return self.skip();
        }
        Ok(())
    }

    fn find_earlier(&mut self, first_line: &[u8]) -> Result<()> {
        if self.name.is_empty() {
            let mut digest = LinesDigest::default();
            digest.add(first_line);
            self.name = format!("log:{}", digest.text());
        }
        let (partition, name) = (self.partition(), &self.name);
        self.earlier = self
            .store
            .connections()
            .run(true, |sql| ImportedPart::find(sql, partition, name))?;
        self.stored = self.earlier.lines;
        Ok(())
    }

    fn skip(&mut self) -> Result<()> {
        self.report.skipped += 1;
        if self.report.lines == self.earlier.lines && self.digest.text() != self.earlier.digest {
            return Err(self.differs(format!("the log's first {} lines", self.earlier.lines)));
        }
        Ok(())
    }

    fn differs(&self, what: String) -> Error {
        Error::EventLog(EventLogError::Line {
            line: self.report.lines,
            reason: format!(
                "{what} were imported before with other content: it is another log, give the import a name of its own"
            ),
        })
    }

    fn store_batch(&mut self) -> Result<()> {
        if self.report.lines > self.stored {
            let part = ImportedPart {
                lines: self.report.lines,
                digest: self.digest.text(),
            };
            let mut transaction = PooledTransaction::begin(self.store.connections())?;
            let partition = self.partition();
            transaction.verify(partition.verification())?;
            part.store(transaction.sql(), partition, &self.name, self.stored)?;
            batch::store(transaction.sql(), self.store, &mut self.messages)?;
            self.streams.store(transaction.sql(), partition)?;
            transaction.commit()?;
            self.store.appended(self.messages.len());
            self.store.projections().wake_follower();
            self.stored = part.lines;
            self.report.imported += self.messages.len() as u64;
            self.report.streams += self.streams.len() as u64;
            if let Some(last) = self.messages.last() {
                self.report.last_global_position = last.entry.message.global_position;
            }
            self.messages.clear();
            self.streams.clear();
        }
        self.batch_bytes = 0;
        (self.options.progress)(ImportProgress {
            bytes: self.bytes,
            lines: self.report.lines,
            imported: self.report.imported,
        });
        Ok(())
    }
}

//! Importing an event log: in batches, in the file's order, once.

use super::batch::{BatchLine, place};
use super::import_options::{ImportOptions, ImportProgress, ImportReport};
use super::line::Line;
use super::progress::{ImportedPart, LinesDigest};
use crate::database::{PooledTransaction, Sql, check_key};
use crate::error::{Error, EventLogError, Result};
use crate::events::{MessageKind, Partition, RecordedMessage, bulk};
use crate::projection::{missed, registry};
use crate::store::EventStore;
use std::io::BufRead;
use std::sync::Arc;
use std::time::SystemTime;
use uuid::Uuid;

impl EventStore {
    /// Imports an event log: one JSON object a line, in the order of the lines.
    ///
    /// Inline projections of other programs follow, as after every append without them.
    ///
    /// An import that was interrupted goes on where it stopped when it is run again with the same log; so does the import of a
    /// log that has grown. A log that was imported already changes nothing.
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
    batch: Vec<BatchLine>,
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
            batch: Vec::new(),
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
            self.bytes += read as u64;
            self.report.lines += 1;
            self.take(trim_end(&text))?;
            self.batch_bytes += read;
            if self.batch.len() == self.options.batch_size || self.batch_bytes >= MOST_BYTES {
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

    fn take(&mut self, text: &[u8]) -> Result<()> {
        let number = self.report.lines;
        self.digest.add(text);
        if number == 1 {
            self.find_earlier()?;
        }
        if number <= self.earlier.lines {
            return self.skip();
        }
        if text.is_empty() {
            return Ok(());
        }
        let line = Line::parse(text).map_err(|reason| {
            Error::EventLog(EventLogError::Line {
                line: number,
                reason,
            })
        })?;
        self.batch.push(BatchLine {
            number,
            expected_position: line.stream_position,
            has_own_id: line.message_id.is_some(),
            message: message(&line),
        });
        Ok(())
    }

    fn find_earlier(&mut self) -> Result<()> {
        if self.name.is_empty() {
            self.name = format!("log:{}", self.digest.text());
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
            self.store_messages(transaction.sql())?;
            transaction.commit()?;
            self.store.appended(self.batch.len());
            self.store.projections().wake_follower();
            self.stored = part.lines;
            self.report.imported += self.batch.len() as u64;
            if let Some(last) = self.batch.last() {
                self.report.last_global_position = last.message.global_position;
            }
            self.batch.clear();
        }
        self.batch_bytes = 0;
        (self.options.progress)(ImportProgress {
            bytes: self.bytes,
            lines: self.report.lines,
            imported: self.report.imported,
        });
        Ok(())
    }

    fn store_messages(&mut self, sql: &mut dyn Sql) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let partition = self.partition();
        let projections = self.store.projections();
        if !projections.is_empty() {
            registry::share(sql, partition)?;
        }
        place(sql, partition, &mut self.batch)?;
        let messages: Vec<&RecordedMessage> = self.batch.iter().map(|line| &line.message).collect();
        bulk::copy(sql, partition, messages.iter().copied())?;
        let given: Vec<&RecordedMessage> = self
            .batch
            .iter()
            .filter(|line| line.has_own_id)
            .map(|line| &line.message)
            .collect();
        bulk::note_ids(sql, partition, &given)?;
        // After the streams' rows were locked, as every append looks.
        let run = missed::note(sql, partition, projections.versions(), &messages)?;
        projections.handle(sql, partition, |name| {
            if run.iter().any(|other| other == name) {
                messages.clone()
            } else {
                Vec::new()
            }
        })
    }
}

fn trim_end(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}

/// The message of a line; its positions and time are not known yet.
fn message(line: &Line<'_>) -> RecordedMessage {
    RecordedMessage {
        stream_name: Arc::from(&*line.stream_name),
        stream_position: 0,
        global_position: 0,
        message_id: line
            .message_id
            .as_ref()
            .map_or_else(|| Uuid::now_v7().to_string(), |id| id.clone().into_owned()),
        message_type: line.message_type.clone().into_owned(),
        kind: MessageKind::from(line.kind),
        schema_version: line.schema_version.unwrap_or(1),
        recorded_at: SystemTime::UNIX_EPOCH,
        data: line.data.get().as_bytes().to_vec(),
        metadata: line.metadata.map_or_else(
            || b"{}".to_vec(),
            |metadata| metadata.get().as_bytes().to_vec(),
        ),
        damage: None,
    }
}

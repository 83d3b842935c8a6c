//! Importing an event log: in batches, in the file's order, once.

use super::line::Line;
use super::progress::{ImportedPart, LinesDigest};
use crate::connection::{Jsonb, Sql, Transaction, get, param};
use crate::error::{Error, Result};
use crate::message::{MessageKind, RecordedMessage};
use crate::partition::Partition;
use crate::position::from_sql;
use crate::store::EventStore;
use crate::stream::stream_type;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::Type;
use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

const FENCE: &str = "SELECT {schema}.emt_fence($1), (extract(EPOCH FROM now()) * 1000000)::BIGINT";

const SHARE_PROJECTIONS: &str = "SELECT {schema}.emt_share_projections($1, $2, $3)";

/// Takes the stream rows in the order of their names, like every append to several streams.
const ADVANCE: &str = "
    INSERT INTO {streams_active} AS stream
        (stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
    SELECT added.id, added.count, $1, added.type, '{}', FALSE
      FROM unnest($2, $3, $4) AS added (id, type, count)
    ON CONFLICT (stream_id, partition, is_archived) DO UPDATE
        SET stream_position = stream.stream_position + EXCLUDED.stream_position
    RETURNING stream_id, stream_position";

const FIND_ARCHIVED: &str =
    "SELECT stream_id FROM {streams_archived} WHERE stream_id = ANY($1) LIMIT 1";

/// After the stream rows: global order has to follow stream order.
const DRAW_POSITIONS: &str = "
    SELECT array_agg(nextval('{schema}.emt_global_message_position'::REGCLASS)) FROM generate_series(1, $1)";

const COPY: &str = "
    COPY {messages_active}
        (stream_position, global_position, message_kind, stream_id, partition, message_schema_version, message_id,
         message_type, message_data, message_metadata)
    FROM STDIN BINARY";

const COPIED_TYPES: [Type; 10] = [
    Type::INT8,
    Type::INT8,
    Type::VARCHAR,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::JSONB,
    Type::JSONB,
];

const OTHER_PROJECTIONS: &str = "
    SELECT name FROM {schema}.emt_projections
     WHERE partition = $1 AND type = 'i' AND status = 'active' AND name <> ALL($2)
     ORDER BY name";

const MARK_STALE: &str = "
    UPDATE {schema}.emt_projections SET status = 'stale', last_updated = now()
     WHERE partition = $1 AND type = 'i' AND status = 'active' AND name <> ALL($2)";

/// How an event log is imported.
pub struct ImportOptions<'p> {
    batch_size: usize,
    name: Option<String>,
    without_projections: bool,
    progress: Box<dyn FnMut(ImportProgress) + 'p>,
}

impl std::fmt::Debug for ImportOptions<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ImportOptions")
            .field("batch_size", &self.batch_size)
            .field("name", &self.name)
            .field("without_projections", &self.without_projections)
            .finish_non_exhaustive()
    }
}

impl Default for ImportOptions<'_> {
    fn default() -> Self {
        Self {
            batch_size: 5_000,
            name: None,
            without_projections: false,
            progress: Box::new(|_| {}),
        }
    }
}

impl<'p> ImportOptions<'p> {
    /// Batches of 5,000 lines, with the store's inline projections.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many lines are stored in one transaction, and held in memory. Defaults to 5,000.
    #[must_use]
    pub fn batch_size(mut self, lines: usize) -> Self {
        self.batch_size = lines.max(1);
        self
    }

    /// The name under which the store remembers how far the log was imported. Defaults to one that is made of the log's
    /// first line.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Goes on although the store has active inline projections that this program does not run, and marks them stale: appends
    /// of programs that run them fail until they are rebuilt. Defaults to refusing the import.
    #[must_use]
    pub fn without_projections(mut self) -> Self {
        self.without_projections = true;
        self
    }

    /// Is told after every batch how far the import has come.
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(ImportProgress) + 'p) -> Self {
        self.progress = Box::new(progress);
        self
    }
}

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportProgress {
    /// How many bytes were read.
    pub bytes: u64,
    /// How many lines were read.
    pub lines: u64,
    /// How many messages were stored.
    pub imported: u64,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportReport {
    /// How many lines the log has.
    pub lines: u64,
    /// How many messages were stored now.
    pub imported: u64,
    /// How many lines an earlier import had stored.
    pub skipped: u64,
    /// The global position of the last message that was stored now; 0 when there was none.
    pub last_global_position: u64,
    /// The inline projections that were marked stale.
    pub stale_projections: Vec<String>,
}

impl EventStore {
    /// Imports an event log: one JSON object a line, in the order of the lines.
    ///
    /// An import that was interrupted goes on where it stopped when it is run again with the same log; so does the import of a
    /// log that has grown. A log that was imported already changes nothing.
    ///
    /// # Errors
    /// [`Error::ImportLine`] names the first bad line; nothing of its batch is stored, the batches before it are.
    /// [`Error::InvalidInput`] when the store has inline projections that this program does not run.
    pub fn import(&self, log: impl BufRead, options: ImportOptions<'_>) -> Result<ImportReport> {
        self.register_projections()?;
        let mut import = Import::new(self, options);
        import.mark_other_projections()?;
        import.run(log)?;
        Ok(import.report)
    }
}

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
    report: ImportReport,
}

/// A checked line.
struct BatchLine {
    number: u64,
    expected_position: Option<u64>,
    message: RecordedMessage,
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
            report: ImportReport::default(),
        }
    }

    fn partition(&self) -> &'s Partition {
        self.store.partition()
    }

    /// Refuses to leave read models behind, or says that they are.
    fn mark_other_projections(&mut self) -> Result<()> {
        let partition = self.partition();
        let own = self
            .store
            .projections()
            .versions()
            .map(|inline| inline.names.clone())
            .unwrap_or_default();
        let parameters = [
            param(&partition.name, Type::TEXT),
            param(&own, Type::TEXT_ARRAY),
        ];
        let others = self.store.connections().run(true, |sql| {
            let rows = sql
                .query(&partition.sql(OTHER_PROJECTIONS), &parameters)
                .map_err(|source| Error::database("look for inline projections", source))?;
            rows.iter()
                .map(|row| get::<String>(row, 0))
                .collect::<Result<Vec<_>>>()
        })?;
        if others.is_empty() {
            return Ok(());
        }
        if !self.options.without_projections {
            return Err(Error::invalid(
                "the import",
                format!(
                    "would leave the inline projections {} behind, which this program does not run: import with the \
                     program that has them, or without projections, which marks them stale",
                    others.join(", ")
                ),
            ));
        }
        self.store.connections().run(true, |sql| {
            sql.execute(&partition.sql(MARK_STALE), &parameters)
                .map_err(|source| Error::database("mark inline projections stale", source))
        })?;
        self.report.stale_projections = others;
        Ok(())
    }

    fn run(&mut self, mut log: impl BufRead) -> Result<()> {
        let mut text = Vec::new();
        loop {
            text.clear();
            let read = log.read_until(b'\n', &mut text)?;
            if read == 0 {
                break;
            }
            self.bytes += read as u64;
            self.report.lines += 1;
            self.take(trim_end(&text))?;
            if self.batch.len() == self.options.batch_size {
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
        let line = Line::parse(text).map_err(|reason| Error::ImportLine {
            line: number,
            reason,
        })?;
        self.batch.push(BatchLine {
            number,
            expected_position: line.stream_position,
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
        Error::ImportLine {
            line: self.report.lines,
            reason: format!(
                "{what} were imported before with other content: it is another log, give the import a name of its own"
            ),
        }
    }

    fn store_batch(&mut self) -> Result<()> {
        if self.report.lines > self.stored {
            let part = ImportedPart {
                lines: self.report.lines,
                digest: self.digest.text(),
            };
            let mut transaction = Transaction::begin(self.store.connections())?;
            let partition = self.partition();
            part.store(transaction.sql(), partition, &self.name, self.stored)?;
            self.store_messages(transaction.sql())?;
            transaction.commit()?;
            self.stored = part.lines;
            self.report.imported += self.batch.len() as u64;
            if let Some(last) = self.batch.last() {
                self.report.last_global_position = last.message.global_position;
            }
            self.batch.clear();
        }
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
        if let Some(inline) = projections.versions() {
            let parameters = [
                param(&partition.name, Type::TEXT),
                param(&inline.names, Type::TEXT_ARRAY),
                param(&inline.versions, Type::INT4_ARRAY),
            ];
            sql.query(&partition.sql(SHARE_PROJECTIONS), &parameters)
                .map_err(|source| Error::in_partition("import", &partition.name, source))?;
        }
        place(sql, partition, &mut self.batch)?;
        copy(sql, partition, &self.batch)?;
        if projections.is_empty() {
            return Ok(());
        }
        let messages: Vec<RecordedMessage> =
            self.batch.iter().map(|line| line.message.clone()).collect();
        projections.handle(sql, partition, &messages)
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
    }
}

/// Takes the fence, then the stream rows, then the positions: the order that the feed relies on.
fn place(sql: &mut dyn Sql, partition: &Partition, batch: &mut [BatchLine]) -> Result<()> {
    let refused = |source| Error::in_partition("import", &partition.name, source);
    let fenced = sql
        .query(&partition.sql(FENCE), &[param(&partition.name, Type::TEXT)])
        .map_err(refused)?;
    let time: i64 = fenced.first().map_or(Ok(0), |row| get(row, 1))?;
    let recorded_at = SystemTime::UNIX_EPOCH + Duration::from_micros(from_sql(time));

    let mut next = advance_streams(sql, partition, batch)?;
    let count = i32::try_from(batch.len()).unwrap_or(i32::MAX);
    let drawn = sql
        .query(&partition.sql(DRAW_POSITIONS), &[param(&count, Type::INT4)])
        .map_err(refused)?;
    let positions: Vec<i64> = drawn
        .first()
        .map_or_else(|| Ok(Vec::new()), |row| get(row, 0))?;
    for (line, position) in batch.iter_mut().zip(positions) {
        let Some(version) = next.get_mut(&*line.message.stream_name) else {
            continue;
        };
        line.message.stream_position = *version;
        line.message.global_position = from_sql(position);
        line.message.recorded_at = recorded_at;
        *version += 1;
        if line
            .expected_position
            .is_some_and(|expected| expected != line.message.stream_position)
        {
            return Err(Error::ImportLine {
                line: line.number,
                reason: format!(
                    "streamPosition is {}, but the next message of stream \"{}\" is number {}",
                    line.expected_position.unwrap_or_default(),
                    line.message.stream_name,
                    line.message.stream_position
                ),
            });
        }
    }
    Ok(())
}

/// Advances the rows of all streams of a batch, and returns the version of the first new message of each.
fn advance_streams(
    sql: &mut dyn Sql,
    partition: &Partition,
    batch: &[BatchLine],
) -> Result<HashMap<Arc<str>, u64>> {
    let refused = |source| Error::in_partition("import", &partition.name, source);
    let mut counts: BTreeMap<&Arc<str>, i64> = BTreeMap::new();
    for line in batch {
        *counts.entry(&line.message.stream_name).or_default() += 1;
    }
    let names: Vec<&str> = counts.keys().map(|name| &***name).collect();
    let types: Vec<&str> = names.iter().map(|name| stream_type(name)).collect();
    let added: Vec<i64> = counts.values().copied().collect();
    let rows = sql
        .query(
            &partition.sql(ADVANCE),
            &[
                param(&partition.name, Type::TEXT),
                param(&names, Type::TEXT_ARRAY),
                param(&types, Type::TEXT_ARRAY),
                param(&added, Type::INT8_ARRAY),
            ],
        )
        .map_err(refused)?;

    let mut next = HashMap::with_capacity(rows.len());
    let mut begun = Vec::new();
    for row in &rows {
        let name: Arc<str> = get::<&str>(row, 0)?.into();
        let version = from_sql(get(row, 1)?);
        let count = counts.get(&name).copied().map_or(0, from_sql);
        if version == count {
            begun.push(Arc::clone(&name));
        }
        next.insert(name, version - count + 1);
    }
    refuse_archived(sql, partition, batch, &begun)?;
    Ok(next)
}

/// A stream that seems new may be an archived one.
fn refuse_archived(
    sql: &mut dyn Sql,
    partition: &Partition,
    batch: &[BatchLine],
    begun: &[Arc<str>],
) -> Result<()> {
    let names: Vec<&str> = begun.iter().map(|name| &**name).collect();
    let rows = sql
        .query(
            &partition.sql(FIND_ARCHIVED),
            &[param(&names, Type::TEXT_ARRAY)],
        )
        .map_err(|source| Error::in_partition("import", &partition.name, source))?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let archived: &str = get(row, 0)?;
    let line = batch
        .iter()
        .find(|line| &*line.message.stream_name == archived);
    Err(Error::ImportLine {
        line: line.map_or(0, |line| line.number),
        reason: format!("stream \"{archived}\" is archived"),
    })
}

fn copy(sql: &mut dyn Sql, partition: &Partition, batch: &[BatchLine]) -> Result<()> {
    let refused = |source| Error::in_partition("import", &partition.name, source);
    let writer = sql.copy_in(&partition.sql(COPY)).map_err(refused)?;
    let mut rows = BinaryCopyInWriter::new(writer, &COPIED_TYPES);
    for line in batch {
        let message = &line.message;
        rows.write(&[
            &crate::position::to_sql(message.stream_position),
            &crate::position::to_sql(message.global_position),
            &message.kind.as_sql(),
            &&*message.stream_name,
            &partition.name,
            &message.schema_version.to_string(),
            &message.message_id,
            &message.message_type,
            &Jsonb(&message.data),
            &Jsonb(&message.metadata),
        ])
        .map_err(refused)?;
    }
    rows.finish().map_err(refused)?;
    Ok(())
}

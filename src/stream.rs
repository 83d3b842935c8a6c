//! Streams: append, read, exists, metadata. Owns the statements on one partition's `emt_streams` and `emt_messages`.

use crate::connection::{Jsonb, Parameter, Sql, get, param};
use crate::error::{Error, Result};
use crate::message::{MessageKind, OutgoingMessage, RecordedMessage, check_text};
use crate::partition::Partition;
use crate::position::{ExpectedVersion, from_sql, to_sql};
use postgres::Row;
use postgres::types::Type;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const APPEND: &str =
    "SELECT {schema}.emt_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

const APPEND_TO_STREAMS: &str = "
    SELECT number, result
      FROM {schema}.emt_append_to_streams($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// The stream's row comes first and is one row, so the messages arrive in the order of the inner query.
macro_rules! read_statement {
    ($streams:literal, $messages:literal, $order:literal) => {
        concat!(
            "
    SELECT stream.stream_position AS stream_version, message.*
      FROM ",
            $streams,
            " AS stream
      LEFT JOIN LATERAL (
               SELECT stream_position, global_position, message_id, message_type, message_kind,
                      message_schema_version, created, message_data, message_metadata
                 FROM ",
            $messages,
            "
                WHERE stream_id = stream.stream_id AND stream_position BETWEEN $2 AND $3
                ORDER BY stream_position ",
            $order,
            "
                LIMIT $4
           ) AS message ON TRUE
     WHERE stream.stream_id = $1"
        )
    };
}

const READ: &str = read_statement!("{streams_active}", "{messages_active}", "ASC");
const READ_BACKWARDS: &str = read_statement!("{streams_active}", "{messages_active}", "DESC");
const READ_ARCHIVED_TOO: &str = read_statement!("{streams}", "{messages}", "ASC");
const READ_ARCHIVED_TOO_BACKWARDS: &str = read_statement!("{streams}", "{messages}", "DESC");

const VERSION: &str =
    "SELECT stream_position, stream_metadata FROM {streams_active} WHERE stream_id = $1";

const SET_METADATA: &str = "UPDATE {streams_active} SET stream_metadata = $2 WHERE stream_id = $1";

const MOVE: &str = "SELECT {schema}.emt_move_stream($1, $2, $3)";

/// A stream's primary key has to fit an index entry of 2,704 bytes together with the partition's name.
const LONGEST_STREAM_NAME: usize = 2_000;

pub(crate) fn check_stream_name(stream: &str) -> Result<()> {
    check_text("the stream name", stream)?;
    if stream.len() > LONGEST_STREAM_NAME {
        let reason = format!(
            "must not be longer than {LONGEST_STREAM_NAME} bytes, has {}",
            stream.len()
        );
        return Err(Error::invalid("the stream name", reason));
    }
    Ok(())
}

/// The part of a stream's name before the first `-`; a name without one has no type, which Emmett calls `emt:unknown`.
pub(crate) fn stream_type(stream: &str) -> &str {
    match stream.split_once('-') {
        Some((kind, _)) if !kind.is_empty() => kind,
        _ => "emt:unknown",
    }
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The stream's version now: what the next append can expect.
    pub next_expected_version: u64,
    /// Whether the append began the stream.
    pub created_new_stream: bool,
    /// The position of the append's last message among all messages of the store.
    pub last_global_position: u64,
    /// The positions of all its messages.
    pub global_positions: Vec<u64>,
    /// The messages had been appended before, under the same message ids; nothing was stored now.
    pub already_appended: bool,
}

/// Checked messages for one stream.
#[derive(Debug)]
pub(crate) struct StreamAppend {
    pub(crate) stream: Arc<str>,
    pub(crate) expected: ExpectedVersion,
    pub(crate) messages: Vec<OutgoingMessage>,
}

impl StreamAppend {
    pub(crate) fn new(
        stream: &str,
        expected: ExpectedVersion,
        messages: Vec<OutgoingMessage>,
    ) -> Result<Self> {
        check_stream_name(stream)?;
        if messages.is_empty() {
            return Err(Error::invalid(
                format!("the append to stream \"{stream}\""),
                "has no messages",
            ));
        }
        let append = Self {
            stream: stream.into(),
            expected,
            messages,
        };
        append.refuse_repeated_ids()?;
        Ok(append)
    }

    fn refuse_repeated_ids(&self) -> Result<()> {
        if !self.has_own_ids() {
            return Ok(());
        }
        let mut ids: Vec<&str> = self
            .messages
            .iter()
            .map(|message| message.message_id.as_str())
            .collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::invalid(
                format!("message id \"{}\"", pair[0]),
                "is given twice in one append",
            )),
            None => Ok(()),
        }
    }

    pub(crate) fn has_own_ids(&self) -> bool {
        self.messages.iter().any(|message| message.has_own_id)
    }

    /// The messages as they are stored now.
    pub(crate) fn recorded(&self, stored: &Stored) -> Vec<RecordedMessage> {
        let first = stored.version - self.messages.len() as u64 + 1;
        let messages = self
            .messages
            .iter()
            .zip(&stored.global_positions)
            .zip(first..);
        messages
            .map(
                |((message, &global_position), stream_position)| RecordedMessage {
                    stream_name: Arc::clone(&self.stream),
                    stream_position,
                    global_position,
                    message_id: message.message_id.clone(),
                    message_type: message.message_type.clone().into_owned(),
                    kind: message.kind,
                    schema_version: message.schema_version,
                    recorded_at: stored.recorded_at,
                    data: message.data.clone(),
                    metadata: message.metadata_json.clone(),
                },
            )
            .collect()
    }
}

/// The inline projections that an append names: they are locked and their versions checked in its round trip.
#[derive(Debug, Clone, Default)]
pub(crate) struct InlineVersions {
    pub(crate) names: Vec<String>,
    pub(crate) versions: Vec<i32>,
}

/// What the database stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) version: u64,
    pub(crate) recorded_at: SystemTime,
    pub(crate) global_positions: Vec<u64>,
    pub(crate) already_appended: bool,
}

impl Stored {
    /// Reads the codes that `emt_append` returns.
    fn from_sql(append: &StreamAppend, result: &[i64]) -> Result<Self> {
        let stream = || append.stream.to_string();
        match result {
            [code @ (0 | 3), version, time, positions @ ..] => Ok(Self {
                version: from_sql(*version),
                recorded_at: SystemTime::UNIX_EPOCH + Duration::from_micros(from_sql(*time)),
                global_positions: positions.iter().copied().map(from_sql).collect(),
                already_appended: *code == 3,
            }),
            [2, version] => Err(Error::StreamArchived {
                stream: stream(),
                version: from_sql(*version),
            }),
            [1, version] => Err(Error::Conflict {
                stream: stream(),
                expected: append.expected,
                actual: from_sql(*version),
            }),
            other => Err(Error::Schema(format!(
                "the function emt_append answered {other:?}, which this version of the library does not understand"
            ))),
        }
    }
}

impl From<Stored> for Appended {
    fn from(stored: Stored) -> Self {
        let count = stored.global_positions.len() as u64;
        Self {
            next_expected_version: stored.version,
            created_new_stream: stored.version == count && !stored.already_appended,
            last_global_position: stored.global_positions.last().copied().unwrap_or_default(),
            global_positions: stored.global_positions,
            already_appended: stored.already_appended,
        }
    }
}

/// The columns of messages, as arrays.
struct MessageColumns<'a> {
    ids: Vec<&'a str>,
    types: Vec<&'a str>,
    kinds: Vec<&'static str>,
    schema_versions: Vec<String>,
    data: Vec<Jsonb<'a>>,
    metadata: Vec<Jsonb<'a>>,
}

impl<'a> MessageColumns<'a> {
    fn new(messages: impl Iterator<Item = &'a OutgoingMessage> + Clone) -> Self {
        Self {
            ids: messages
                .clone()
                .map(|message| message.message_id.as_str())
                .collect(),
            types: messages
                .clone()
                .map(|message| &*message.message_type)
                .collect(),
            kinds: messages
                .clone()
                .map(|message| message.kind.as_sql())
                .collect(),
            schema_versions: messages
                .clone()
                .map(|message| message.schema_version.to_string())
                .collect(),
            data: messages
                .clone()
                .map(|message| Jsonb(&message.data))
                .collect(),
            metadata: messages
                .map(|message| Jsonb(&message.metadata_json))
                .collect(),
        }
    }

    fn parameters(&self) -> [Parameter<'_>; 6] {
        [
            param(&self.ids, Type::TEXT_ARRAY),
            param(&self.types, Type::TEXT_ARRAY),
            param(&self.kinds, Type::TEXT_ARRAY),
            param(&self.schema_versions, Type::TEXT_ARRAY),
            param(&self.data, Type::JSONB_ARRAY),
            param(&self.metadata, Type::JSONB_ARRAY),
        ]
    }
}

/// Appends to one stream, in one round trip.
pub(crate) fn append(
    sql: &mut dyn Sql,
    partition: &Partition,
    append: &StreamAppend,
    projections: Option<&InlineVersions>,
) -> Result<Stored> {
    let columns = MessageColumns::new(append.messages.iter());
    let (kind, expected, find_repeated) = (
        stream_type(&append.stream),
        append.expected.as_sql(),
        append.has_own_ids(),
    );
    let names = projections.map(|inline| &inline.names);
    let versions = projections.map(|inline| &inline.versions);
    let stream = &*append.stream;
    let mut parameters = vec![
        param(&stream, Type::TEXT),
        param(&kind, Type::TEXT),
        param(&partition.name, Type::TEXT),
        param(&expected, Type::INT8),
    ];
    parameters.extend(columns.parameters());
    parameters.extend([
        param(&find_repeated, Type::BOOL),
        param(&names, Type::TEXT_ARRAY),
        param(&versions, Type::INT4_ARRAY),
    ]);
    let rows = sql
        .query(&partition.sql(APPEND), &parameters)
        .map_err(|source| append_error(partition, &append.stream, source))?;
    Stored::from_sql(append, &read_result(&rows, 0)?)
}

/// Appends to several streams, in one round trip: all or nothing.
pub(crate) fn append_to_streams(
    sql: &mut dyn Sql,
    partition: &Partition,
    appends: &[StreamAppend],
    projections: Option<&InlineVersions>,
) -> Result<Vec<Stored>> {
    let streams: Vec<&str> = appends.iter().map(|append| &*append.stream).collect();
    let kinds: Vec<&str> = streams.iter().map(|stream| stream_type(stream)).collect();
    let expected: Vec<Option<i64>> = appends
        .iter()
        .map(|append| append.expected.as_sql())
        .collect();
    let counts: Vec<i32> = appends
        .iter()
        .map(|append| append.messages.len().try_into().unwrap_or(i32::MAX))
        .collect();
    let columns = MessageColumns::new(appends.iter().flat_map(|append| &append.messages));
    let find_repeated = appends.iter().any(StreamAppend::has_own_ids);
    let names = projections.map(|inline| &inline.names);
    let versions = projections.map(|inline| &inline.versions);
    let mut parameters = vec![
        param(&streams, Type::TEXT_ARRAY),
        param(&kinds, Type::TEXT_ARRAY),
        param(&partition.name, Type::TEXT),
        param(&expected, Type::INT8_ARRAY),
        param(&counts, Type::INT4_ARRAY),
    ];
    parameters.extend(columns.parameters());
    parameters.extend([
        param(&find_repeated, Type::BOOL),
        param(&names, Type::TEXT_ARRAY),
        param(&versions, Type::INT4_ARRAY),
    ]);
    let rows = sql
        .query(&partition.sql(APPEND_TO_STREAMS), &parameters)
        .map_err(|source| {
            append_error(
                partition,
                streams.first().copied().unwrap_or_default(),
                source,
            )
        })?;

    let mut stored = Vec::with_capacity(rows.len());
    for row in &rows {
        let number: i32 = get(row, 0)?;
        let index = usize::try_from(number - 1).unwrap_or_default();
        let result: Vec<i64> = get(row, 1)?;
        stored.push((index, Stored::from_sql(&appends[index], &result)?));
    }
    stored.sort_unstable_by_key(|(index, _)| *index);
    Ok(stored.into_iter().map(|(_, stored)| stored).collect())
}

fn append_error(partition: &Partition, stream: &str, source: postgres::Error) -> Error {
    if source.code().is_some_and(|code| code.code() == "SE020") {
        return Error::MessageIdReused {
            stream: stream.to_owned(),
            source,
        };
    }
    Error::in_partition("append to a stream", &partition.name, source)
}

fn read_result(rows: &[Row], column: usize) -> Result<Vec<i64>> {
    rows.first()
        .map_or_else(|| Ok(Vec::new()), |row| get(row, column))
}

/// Which messages of a stream to read, and in which order.
///
/// ```
/// use emmett_postgresql::ReadOptions;
/// let last_ten = ReadOptions::new().backwards().max_count(10);
/// let from_five = ReadOptions::new().from(5).to(20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    from: u64,
    to: u64,
    max_count: Option<u64>,
    backwards: bool,
    include_archived: bool,
    expected: ExpectedVersion,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            from: 0,
            to: u64::MAX,
            max_count: None,
            backwards: false,
            include_archived: false,
            expected: ExpectedVersion::Any,
        }
    }
}

impl ReadOptions {
    /// All messages, in the order of their versions.
    pub fn new() -> Self {
        Self::default()
    }

    /// The lowest version to read, itself included. Defaults to the first.
    #[must_use]
    pub fn from(mut self, version: u64) -> Self {
        self.from = version;
        self
    }

    /// The highest version to read, itself included. Defaults to the last.
    #[must_use]
    pub fn to(mut self, version: u64) -> Self {
        self.to = version;
        self
    }

    /// The largest number of messages to read: the first of the range, or the last when reading backwards. Defaults to no
    /// limit.
    #[must_use]
    pub fn max_count(mut self, count: u64) -> Self {
        self.max_count = Some(count);
        self
    }

    /// Reads from the highest version down. Defaults to upwards.
    #[must_use]
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// Reads the stream even when it is archived. Defaults to taking an archived stream for one that does not exist.
    #[must_use]
    pub fn include_archived(mut self) -> Self {
        self.include_archived = true;
        self
    }

    /// Fails with [`Error::Conflict`] when the stream is not at this version. Defaults to any.
    #[must_use]
    pub fn expected_version(mut self, expected: impl Into<ExpectedVersion>) -> Self {
        self.expected = expected.into();
        self
    }

    pub(crate) fn next_page(mut self, last: u64, count: u64) -> Self {
        if self.backwards {
            self.to = last.saturating_sub(1);
        } else {
            self.from = last + 1;
        }
        self.max_count = self.max_count.map(|most| most.saturating_sub(count));
        self.expected = ExpectedVersion::Any;
        self
    }

    pub(crate) fn limited_to(mut self, count: u64) -> Self {
        self.max_count = Some(self.max_count.map_or(count, |most| most.min(count)));
        self
    }

    pub(crate) fn up_to(mut self, version: u64) -> Self {
        self.to = self.to.min(version);
        self
    }
}

impl ExpectedVersion {
    fn check(self, stream: &str, actual: u64) -> Result<()> {
        let met = match self {
            Self::Any => true,
            Self::NoStream => actual == 0,
            Self::StreamExists => actual > 0,
            Self::Exact(version) => actual == version,
        };
        if met {
            Ok(())
        } else {
            Err(Error::Conflict {
                stream: stream.to_owned(),
                expected: self,
                actual,
            })
        }
    }
}

/// Hands over the messages of a stream as they arrive, and returns its version; 0 when it does not exist.
pub(crate) fn read(
    sql: &mut dyn Sql,
    partition: &Partition,
    stream: &Arc<str>,
    options: &ReadOptions,
    each: &mut dyn FnMut(MessageRow<'_>) -> Result<()>,
) -> Result<u64> {
    check_stream_name(stream)?;
    let text = match (options.include_archived, options.backwards) {
        (false, false) => READ,
        (false, true) => READ_BACKWARDS,
        (true, false) => READ_ARCHIVED_TOO,
        (true, true) => READ_ARCHIVED_TOO_BACKWARDS,
    };
    let (name, from, to) = (&**stream, to_sql(options.from), to_sql(options.to));
    let limit = options.max_count.map(to_sql);
    let mut version = 0;
    let mut outcome = Ok(());
    let mut read_row = |row: &Row| -> Result<()> {
        if version == 0 {
            version = from_sql(get(row, 0)?);
            options.expected.check(stream, version)?;
        }
        // The stream exists, but no message is in the range.
        if get::<Option<i64>>(row, 1)?.is_none() {
            return Ok(());
        }
        each(MessageRow {
            row,
            first_column: 1,
            stream,
        })
    };
    sql.query_each(
        &partition.sql(text),
        &[
            param(&name, Type::TEXT),
            param(&from, Type::INT8),
            param(&to, Type::INT8),
            param(&limit, Type::INT8),
        ],
        &mut |row| {
            outcome = read_row(row);
            outcome.is_ok()
        },
    )
    .map_err(|source| Error::in_partition("read a stream", &partition.name, source))?;
    outcome?;
    if version == 0 {
        options.expected.check(stream, 0)?;
    }
    Ok(version)
}

/// A row of a message: `stream_position` and the columns that follow it in the statements here and in the feed's.
pub(crate) struct MessageRow<'a> {
    pub(crate) row: &'a Row,
    pub(crate) first_column: usize,
    pub(crate) stream: &'a Arc<str>,
}

impl MessageRow<'_> {
    fn get<'a, T: postgres::types::FromSql<'a>>(&'a self, column: usize) -> Result<T> {
        get(self.row, self.first_column + column)
    }

    pub(crate) fn to_message(&self) -> Result<RecordedMessage> {
        Ok(RecordedMessage {
            stream_name: Arc::clone(self.stream),
            stream_position: from_sql(self.get(0)?),
            global_position: from_sql(self.get(1)?),
            message_id: self.get(2)?,
            message_type: self.get(3)?,
            kind: MessageKind::from_sql(self.get(4)?),
            schema_version: parse_schema_version(self.get(5)?),
            recorded_at: self.get(6)?,
            data: self.get::<Jsonb<'_>>(7)?.0.to_vec(),
            metadata: self.get::<Jsonb<'_>>(8)?.0.to_vec(),
        })
    }

    /// The message as an event of type `E`, decoded from the row itself.
    pub(crate) fn decode<E: crate::Event>(&self) -> Result<crate::Recorded<E>> {
        let stream_position = from_sql(self.get(0)?);
        let message_type: &str = self.get(3)?;
        let schema_version = parse_schema_version(self.get(5)?);
        let data: Jsonb<'_> = self.get(7)?;
        let event = crate::event::decode_stored(
            message_type,
            schema_version,
            data.0,
            self.stream,
            stream_position,
        )?;
        let metadata = crate::message::Metadata::parse(self.get::<Jsonb<'_>>(8)?.0);
        Ok(crate::Recorded {
            event,
            stream_name: Arc::clone(self.stream),
            stream_position,
            global_position: from_sql(self.get(1)?),
            message_id: self.get(2)?,
            message_type: message_type.to_owned(),
            kind: MessageKind::from_sql(self.get(4)?),
            schema_version,
            recorded_at: self.get(6)?,
            correlation_id: metadata.correlation_id,
            causation_id: metadata.causation_id,
            metadata: metadata.own,
        })
    }
}

/// Emmett writes the version with quotes around it.
fn parse_schema_version(text: &str) -> u32 {
    text.trim_matches(['"', '\'']).parse().unwrap_or(1)
}

/// The version and the metadata of a stream that is not archived.
pub(crate) fn version(
    sql: &mut dyn Sql,
    partition: &Partition,
    stream: &str,
) -> Result<Option<(u64, Map<String, Value>)>> {
    check_stream_name(stream)?;
    let rows = sql
        .query(&partition.sql(VERSION), &[param(&stream, Type::TEXT)])
        .map_err(|source| Error::in_partition("look for a stream", &partition.name, source))?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let metadata: Value = get(row, 1)?;
    let metadata = match metadata {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    Ok(Some((from_sql(get(row, 0)?), metadata)))
}

/// Replaces the metadata of a stream; false when there is no such stream.
pub(crate) fn set_metadata(
    sql: &mut dyn Sql,
    partition: &Partition,
    stream: &str,
    json: &[u8],
) -> Result<bool> {
    check_stream_name(stream)?;
    let metadata = Jsonb(json);
    let changed = sql
        .execute(
            &partition.sql(SET_METADATA),
            &[param(&stream, Type::TEXT), param(&metadata, Type::JSONB)],
        )
        .map_err(|source| {
            Error::in_partition("change a stream's metadata", &partition.name, source)
        })?;
    Ok(changed == 1)
}

/// Moves a stream to the archive or back; `None` when it is not where it should come from.
pub(crate) fn move_stream(
    sql: &mut dyn Sql,
    partition: &Partition,
    stream: &str,
    to_archive: bool,
) -> Result<Option<u64>> {
    check_stream_name(stream)?;
    let parameters = [
        param(&stream, Type::TEXT),
        param(&partition.name, Type::TEXT),
        param(&to_archive, Type::BOOL),
    ];
    let doing = if to_archive {
        "archive a stream"
    } else {
        "unarchive a stream"
    };
    let rows = sql
        .query(&partition.sql(MOVE), &parameters)
        .map_err(|source| Error::in_partition(doing, &partition.name, source))?;
    let version: Option<i64> = rows.first().map_or(Ok(None), |row| get(row, 0))?;
    Ok(version.map(from_sql))
}

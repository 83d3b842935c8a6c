//! Reading several streams in one statement, and so in one snapshot, with the reply under a command's key, and from the stored
//! snapshots of their states.

use super::name::check_stream_name;
use super::read::MessageRow;
use super::read_options::ReadOptions;
use super::versions::Versions;
use crate::database::position::from_sql;
use crate::database::{Jsonb, Sql, get, param};
use crate::error::{Error, Result};
use crate::events::command_key::CommandKey;
use crate::events::partition::{Partition, PartitionSql};
use crate::events::snapshot::{SnapshotFormat, UnusableSnapshot};
use crate::json::JsonError;
use postgres::Row;
use postgres::types::Type;
use std::sync::Arc;

/// The rows of a stream arrive in the order of their versions; each stream has one row at least. LIMIT keeps the planner from
/// reading all streams for a join.
macro_rules! read_statement {
    ($boundary:expr, $snapshot_columns:expr, $snapshot:expr, $first_version:literal) => {
        concat!(
            "
    SELECT boundary.number, stream.stream_position AS stream_version, taken.digest, taken.reply,",
            $snapshot_columns,
            ", message.*
      FROM ",
            $boundary,
            "
      LEFT JOIN LATERAL (
               SELECT digest, reply FROM {schema}.emt_command_keys WHERE partition = $1 AND command_key = $3 LIMIT 1
           ) AS taken ON TRUE
      LEFT JOIN LATERAL (
               SELECT stream_id, stream_position FROM {streams_active}
                WHERE stream_id = boundary.stream_id AND partition = $1 LIMIT 1
           ) AS stream ON TRUE",
            $snapshot,
            "
      LEFT JOIN LATERAL (
               SELECT stream_position, global_position, message_id, message_type, message_kind,
                      message_schema_version, created, message_data, message_metadata
                 FROM {messages_active}
                WHERE stream_id = stream.stream_id AND stream_position >= ",
            $first_version,
            "
                ORDER BY stream_position
           ) AS message ON TRUE"
        )
    };
    ($boundary:expr) => {
        read_statement!(
            $boundary,
            " NULL::BIGINT AS state_version, NULL::BIGINT AS snapshot_position, NULL::BOOLEAN AS is_usable, NULL::TEXT AS state",
            "",
            "1::BIGINT"
        )
    };
}

/// The first row of a stream carries the state of a usable snapshot, and the messages after the snapshot's version follow.
macro_rules! read_after_snapshots {
    ($boundary:expr) => {
        read_statement!(
            $boundary,
            "
           snapshot.state_version, snapshot.stream_position AS snapshot_position, snapshot.is_usable,
           CASE WHEN snapshot.is_usable
                 AND (message.stream_position IS NULL OR message.stream_position = snapshot.next_position)
                THEN CAST(snapshot.state AS TEXT) END AS state",
            "
      LEFT JOIN LATERAL (
               SELECT kept.state_version, kept.stream_position, kept.state,
                      kept.stream_position + 1::BIGINT AS next_position,
                      kept.state_version = boundary.state_version
                      AND EXISTS (SELECT FROM {messages_active} AS last
                                   WHERE last.stream_id = kept.stream_id AND last.stream_position = kept.stream_position
                                     AND last.message_id = kept.message_id) AS is_usable
                 FROM {schema}.emt_snapshots AS kept
                WHERE kept.partition = $1 AND kept.stream_id = stream.stream_id AND kept.state_type = boundary.state_type
                LIMIT 1
           ) AS snapshot ON TRUE",
            "CASE WHEN snapshot.is_usable THEN snapshot.next_position ELSE 1::BIGINT END"
        )
    };
}

const READ_ONE: PartitionSql = PartitionSql::new(read_statement!(
    "(VALUES ($2, 1::BIGINT)) AS boundary (stream_id, number)"
));

const READ_ONE_AFTER_SNAPSHOT: PartitionSql = PartitionSql::new(read_after_snapshots!(
    "(VALUES ($2, 1::BIGINT, $4, $5)) AS boundary (stream_id, number, state_type, state_version)"
));

/// Subqueries hide the lengths of the arrays. The planner would otherwise find a plan for the length of each call better than
/// one for all, and plan every call anew, which takes longer than the call.
const READ_SEVERAL: PartitionSql = PartitionSql::new(read_statement!(
    "pg_catalog.unnest((SELECT $2)) WITH ORDINALITY AS boundary (stream_id, number)"
));

const READ_SEVERAL_AFTER_SNAPSHOTS: PartitionSql = PartitionSql::new(read_after_snapshots!(
    "ROWS FROM (pg_catalog.unnest((SELECT $2)), pg_catalog.unnest((SELECT $4)), pg_catalog.unnest((SELECT $5)))
           WITH ORDINALITY AS boundary (stream_id, state_type, state_version, number)"
));

/// The columns of a row, by number, because there are many rows.
mod column {
    pub(super) const NUMBER: usize = 0;
    pub(super) const STREAM_VERSION: usize = 1;
    pub(super) const DIGEST: usize = 2;
    pub(super) const REPLY: usize = 3;
    pub(super) const STATE_VERSION: usize = 4;
    pub(super) const SNAPSHOT_POSITION: usize = 5;
    pub(super) const IS_USABLE: usize = 6;
    pub(super) const STATE: usize = 7;
    pub(super) const FIRST_OF_MESSAGE: usize = 8;
}

/// Streams to be read together.
pub(crate) struct Boundary<'a> {
    pub(crate) streams: &'a [Arc<str>],
    /// One entry per stream; `None` to read it from its beginning.
    pub(crate) formats: &'a [Option<SnapshotFormat>],
    pub(crate) key: Option<&'a CommandKey>,
}

/// A receiver of streams. It knows a stream by its number, counted from 0.
pub(crate) trait Receiver {
    /// Takes the state of a snapshot, before the stream's messages.
    fn restore(&mut self, number: usize, state: &[u8]) -> Result<(), JsonError>;

    fn message(&mut self, number: usize, row: &MessageRow<'_>) -> Result<()>;
}

/// Streams that were read together.
pub(crate) struct ReadTogether {
    /// In the order of the streams.
    pub(crate) streams: Vec<ReadStream>,
    /// The reply that is stored under the key.
    pub(crate) reply: Option<Vec<u8>>,
}

/// A stream that was read together with others.
#[derive(Default)]
pub(crate) struct ReadStream {
    /// 0 for a stream that does not exist.
    pub(crate) version: u64,
    /// Version of the snapshot from which the stream was read; 0 without one.
    pub(crate) snapshot_version: u64,
    /// Why a snapshot was found and not used.
    pub(crate) unusable: Option<UnusableSnapshot>,
}

/// Outcome of a read.
pub(crate) enum Outcome {
    Read(ReadTogether),
    /// The receiver could not take this stream's snapshot. Read again without it.
    Unreadable {
        number: usize,
        source: JsonError,
    },
}

/// Reads streams, and hands over their snapshots and messages.
pub(crate) fn read_together(
    sql: &mut dyn Sql,
    partition: &Partition,
    boundary: &Boundary<'_>,
    receiver: &mut dyn Receiver,
) -> Result<Outcome> {
    if let ([stream], [None], None) = (boundary.streams, boundary.formats, boundary.key) {
        let mut each = |row: MessageRow<'_>| receiver.message(0, &row);
        let version = super::read::read(sql, partition, stream, &ReadOptions::new(), &mut each)?;
        let stream = ReadStream {
            version,
            ..ReadStream::default()
        };
        return Ok(Outcome::Read(ReadTogether {
            streams: vec![stream],
            reply: None,
        }));
    }
    for stream in boundary.streams {
        check_stream_name(stream)?;
    }
    let names: Vec<&str> = boundary.streams.iter().map(|stream| &**stream).collect();
    let taken = boundary.key.map(|key| key.key.as_str());
    let formats = || boundary.formats.iter().map(Option::as_ref);
    let state_types: Vec<Option<&str>> = formats()
        .map(|format| format.map(|format| format.state_type.as_str()))
        .collect();
    let state_versions: Vec<Option<i64>> = formats()
        .map(|format| format.map(|format| i64::from(format.state_version)))
        .collect();
    let key = param(&taken, Type::TEXT);
    let has_formats = formats().any(|format| format.is_some());
    let (statement, name, state_type, state_version) =
        match (&*names, &*state_types, &*state_versions) {
            ([name], [state_type], [state_version]) => (
                if has_formats {
                    READ_ONE_AFTER_SNAPSHOT
                } else {
                    READ_ONE
                },
                param(name, Type::TEXT),
                param(state_type, Type::TEXT),
                param(state_version, Type::INT8),
            ),
            _ => (
                if has_formats {
                    READ_SEVERAL_AFTER_SNAPSHOTS
                } else {
                    READ_SEVERAL
                },
                param(&names, Type::TEXT_ARRAY),
                param(&state_types, Type::TEXT_ARRAY),
                param(&state_versions, Type::INT8_ARRAY),
            ),
        };
    let mut parameters = vec![param(&partition.name, Type::TEXT), name, key];
    if has_formats {
        parameters.extend([state_type, state_version]);
    }
    let mut reading = Reading::new(boundary);
    let mut outcome = Ok(Taken::Row);
    sql.query_each(&partition.sql(statement), &parameters, &mut |row| {
        outcome = reading.take(row, receiver);
        matches!(outcome, Ok(Taken::Row))
    })
    .map_err(|source| Error::in_partition("read streams", &partition.name, source))?;
    match outcome? {
        Taken::Row => reading.end().map(Outcome::Read),
        Taken::Unreadable { number, source } => Ok(Outcome::Unreadable { number, source }),
    }
}

/// Outcome of a row.
enum Taken {
    Row,
    Unreadable { number: usize, source: JsonError },
}

/// The streams as far as they were read.
struct Reading<'a> {
    boundary: &'a Boundary<'a>,
    found: Vec<Option<Found>>,
    reply: Option<Vec<u8>>,
}

struct Found {
    stream: ReadStream,
    versions: Versions,
}

impl Found {
    /// Reads what the first row of a stream says about the stream and its snapshot.
    fn of_first_row(row: &Row, format: Option<&SnapshotFormat>) -> Result<Self> {
        let version: Option<i64> = get(row, column::STREAM_VERSION)?;
        let mut stream = ReadStream {
            version: version.map_or(Ok(0), from_sql)?,
            ..ReadStream::default()
        };
        let written: Option<i64> = get(row, column::STATE_VERSION)?;
        if let (Some(format), Some(written)) = (format, written) {
            let snapshot_version = from_sql(get(row, column::SNAPSHOT_POSITION)?)?;
            if get(row, column::IS_USABLE)? {
                stream.snapshot_version = snapshot_version;
            } else if written == i64::from(format.state_version) {
                stream.unusable = Some(UnusableSnapshot::OtherHistory(snapshot_version));
            } else {
                stream.unusable = Some(UnusableSnapshot::OtherCode(written));
            }
        }
        let options = ReadOptions::new().from(stream.snapshot_version + 1);
        Ok(Self {
            versions: Versions::new(&options, stream.version),
            stream,
        })
    }
}

impl<'a> Reading<'a> {
    fn new(boundary: &'a Boundary<'a>) -> Self {
        Self {
            boundary,
            found: boundary.streams.iter().map(|_| None).collect(),
            reply: None,
        }
    }

    fn take(&mut self, row: &Row, receiver: &mut dyn Receiver) -> Result<Taken> {
        let number: i64 = get(row, column::NUMBER)?;
        let Some((index, stream)) = usize::try_from(number - 1)
            .ok()
            .and_then(|index| Some((index, self.boundary.streams.get(index)?)))
        else {
            return Err(Error::schema(format!("stream {number} was not asked for")));
        };
        if self.found[index].is_none() {
            self.take_reply(row)?;
            let format = self.boundary.formats[index].as_ref();
            self.found[index] = Some(Found::of_first_row(row, format)?);
            if let Some(state) = get::<Option<&str>>(row, column::STATE)?
                && let Err(source) = receiver.restore(index, state.as_bytes())
            {
                return Ok(Taken::Unreadable {
                    number: index,
                    source,
                });
            }
        }
        let message = MessageRow {
            row,
            first_column: column::FIRST_OF_MESSAGE,
            stream,
            backwards: false,
        };
        if let (Some(found), Some(position)) = (&mut self.found[index], message.stream_position()?)
        {
            found.versions.found(stream, position)?;
            receiver.message(index, &message)?;
        }
        Ok(Taken::Row)
    }

    fn take_reply(&mut self, row: &Row) -> Result<()> {
        if self.reply.is_some() {
            return Ok(());
        }
        if let (Some(key), Some(digest)) =
            (self.boundary.key, get::<Option<&str>>(row, column::DIGEST)?)
        {
            key.check_digest(digest)?;
            let reply: Jsonb<'_> = get(row, column::REPLY)?;
            self.reply = Some(reply.0.to_vec());
        }
        Ok(())
    }

    fn end(self) -> Result<ReadTogether> {
        let mut streams = Vec::with_capacity(self.found.len());
        for (stream, found) in self.boundary.streams.iter().zip(self.found) {
            let Some(found) = found else {
                streams.push(ReadStream::default());
                continue;
            };
            found.versions.end(stream)?;
            streams.push(found.stream);
        }
        Ok(ReadTogether {
            streams,
            reply: self.reply,
        })
    }
}

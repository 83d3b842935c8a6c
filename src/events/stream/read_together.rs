//! Reading several streams in one statement, and so in one snapshot, with what stands under a command's key.

use super::name::check_stream_name;
use super::read::MessageRow;
use super::read_options::ReadOptions;
use super::versions::Versions;
use crate::database::position::from_sql;
use crate::database::{Jsonb, Sql, get, param};
use crate::error::{Error, Result};
use crate::events::command_key::CommandKey;
use crate::events::partition::{Partition, PartitionSql};
use postgres::Row;
use postgres::types::Type;
use std::sync::Arc;

/// The rows of a stream arrive in the order of their versions; each stream has one row at least. Where the key is taken, no
/// message is read.
const READ_TOGETHER: PartitionSql = PartitionSql::new(
    "
    SELECT boundary.number, stream.stream_position AS stream_version, taken.digest, taken.reply, message.*
      FROM pg_catalog.unnest($2) WITH ORDINALITY AS boundary (stream_id, number)
      LEFT JOIN {schema}.emt_command_keys AS taken ON taken.partition = $1 AND taken.command_key = $3
      LEFT JOIN {streams_active} AS stream ON stream.stream_id = boundary.stream_id AND stream.partition = $1
      LEFT JOIN LATERAL (
               SELECT stream_position, global_position, message_id, message_type, message_kind,
                      message_schema_version, created, message_data, message_metadata
                 FROM {messages_active}
                WHERE stream_id = stream.stream_id
                ORDER BY stream_position
           ) AS message ON taken.command_key IS NULL",
);

/// The column after those of the stream and the key.
const FIRST_OF_MESSAGE: usize = 4;

/// Versions of streams that were read together.
pub(crate) struct ReadTogether {
    /// In the order of the streams; 0 for a stream that does not exist.
    pub(crate) versions: Vec<u64>,
    /// The reply that is stored under the key.
    pub(crate) reply: Option<Vec<u8>>,
}

/// Reads streams, and hands over each message with the number of its stream, counted from 0.
pub(crate) fn read_together(
    sql: &mut dyn Sql,
    partition: &Partition,
    streams: &[Arc<str>],
    key: Option<&CommandKey>,
    each: &mut dyn FnMut(usize, MessageRow<'_>) -> Result<()>,
) -> Result<ReadTogether> {
    if let ([stream], None) = (streams, key) {
        let options = ReadOptions::new();
        let mut each = |row: MessageRow<'_>| each(0, row);
        let version = super::read::read(sql, partition, stream, &options, &mut each)?;
        return Ok(ReadTogether {
            versions: vec![version],
            reply: None,
        });
    }
    for stream in streams {
        check_stream_name(stream)?;
    }
    let names: Vec<&str> = streams.iter().map(|stream| &**stream).collect();
    let taken = key.map(|key| key.key.as_str());
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&names, Type::TEXT_ARRAY),
        param(&taken, Type::TEXT),
    ];
    let mut reading = Reading::new(streams, key);
    let mut outcome = Ok(());
    sql.query_each(&partition.sql(READ_TOGETHER), &parameters, &mut |row| {
        outcome = reading.take(row, each);
        outcome.is_ok()
    })
    .map_err(|source| Error::in_partition("read streams", &partition.name, source))?;
    outcome?;
    reading.end()
}

/// The streams as far as they were read.
struct Reading<'a> {
    streams: &'a [Arc<str>],
    key: Option<&'a CommandKey>,
    found: Vec<Option<Found>>,
    reply: Option<Vec<u8>>,
}

struct Found {
    version: u64,
    versions: Versions,
}

impl<'a> Reading<'a> {
    fn new(streams: &'a [Arc<str>], key: Option<&'a CommandKey>) -> Self {
        Self {
            streams,
            key,
            found: streams.iter().map(|_| None).collect(),
            reply: None,
        }
    }

    fn take(
        &mut self,
        row: &Row,
        each: &mut dyn FnMut(usize, MessageRow<'_>) -> Result<()>,
    ) -> Result<()> {
        let number: i64 = get(row, 0)?;
        let Some((index, stream)) = usize::try_from(number - 1)
            .ok()
            .and_then(|index| Some((index, self.streams.get(index)?)))
        else {
            return Err(Error::schema(format!("stream {number} was not asked for")));
        };
        let version: Option<i64> = get(row, 1)?;
        let version = version.map_or(Ok(0), from_sql)?;
        let found = self.found[index].get_or_insert_with(|| Found {
            version,
            versions: Versions::new(&ReadOptions::new(), version),
        });
        if let (Some(key), Some(digest)) = (self.key, get::<Option<&str>>(row, 2)?) {
            key.check_digest(digest)?;
            let reply: Jsonb<'_> = get(row, 3)?;
            self.reply.get_or_insert_with(|| reply.0.to_vec());
            return Ok(());
        }
        let message = MessageRow {
            row,
            first_column: FIRST_OF_MESSAGE,
            stream,
            backwards: false,
        };
        let Some(position) = message.stream_position()? else {
            return Ok(());
        };
        found.versions.found(stream, position)?;
        each(index, message)
    }

    fn end(self) -> Result<ReadTogether> {
        let mut versions = Vec::with_capacity(self.streams.len());
        for (stream, found) in self.streams.iter().zip(self.found) {
            let Some(found) = found else {
                versions.push(0);
                continue;
            };
            versions.push(found.version);
            if self.reply.is_none() {
                found.versions.end(stream)?;
            }
        }
        Ok(ReadTogether {
            versions,
            reply: self.reply,
        })
    }
}

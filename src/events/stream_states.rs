//! Metadata and archive state of streams, for many streams at once.

use crate::database::position::to_sql;
use crate::database::{Jsonb, Sql, get, param};
use crate::error::{Error, Result};
use crate::events::partition::{Partition, PartitionSql};
use postgres::Row;
use postgres::types::Type;
use std::collections::BTreeMap;

/// Of streams with a message at or below a position.
const READ: PartitionSql = PartitionSql::new(
    "
    SELECT stream.stream_id, stream.stream_metadata, stream.is_archived
      FROM {streams} AS stream
     WHERE stream.partition = $1 AND (stream.is_archived OR stream.stream_metadata <> '{}'::JSONB)
       AND EXISTS (SELECT FROM {messages} AS message
                    WHERE message.stream_id = stream.stream_id AND message.is_archived = stream.is_archived
                      AND message.global_position <= $2)
     ORDER BY stream.stream_id COLLATE pg_catalog.\"C\"",
);

/// In the order of the names, like every append to several streams.
const LOCK: PartitionSql = PartitionSql::new(
    "
    SELECT stream_id, is_archived FROM {streams}
     WHERE stream_id = ANY($1) AND partition = $2
     ORDER BY stream_id COLLATE pg_catalog.\"C\"
       FOR UPDATE",
);

const SET_METADATA: PartitionSql = PartitionSql::new(
    "
    UPDATE {streams} AS stream SET stream_metadata = given.metadata
      FROM unnest($2, $3) AS given (id, metadata)
     WHERE stream.stream_id = given.id AND stream.partition = $1",
);

const MOVE: PartitionSql = PartitionSql::new(
    "SELECT {schema}.emt_stream_move(given.id, $1, $3) FROM unnest($2) AS given (id)",
);

/// Metadata and archive state of a stream.
pub(crate) struct StreamState<'a> {
    pub(crate) stream_name: &'a str,
    /// A JSON object.
    pub(crate) metadata: &'a [u8],
    pub(crate) is_archived: bool,
}

/// Hands over the streams that are archived or have metadata, in the order of their names, until `each` fails. Leaves out
/// those whose messages all stand after a position.
pub(crate) fn read(
    sql: &mut dyn Sql,
    partition: &Partition,
    up_to: u64,
    each: &mut dyn FnMut(StreamState<'_>) -> Result<()>,
) -> Result<()> {
    let up_to = to_sql(up_to);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&up_to, Type::INT8),
    ];
    let mut outcome = Ok(());
    let mut take = |row: &Row| {
        outcome = state(row).and_then(&mut *each);
        outcome.is_ok()
    };
    sql.query_each(&partition.sql(READ), &parameters, &mut take)
        .map_err(|source| Error::in_partition("read the streams", &partition.name, source))?;
    outcome
}

fn state(row: &Row) -> Result<StreamState<'_>> {
    let stream_name = get(row, "stream_id")?;
    let Jsonb(metadata) = get(row, "stream_metadata")?;
    if !metadata.starts_with(b"{") {
        return Err(Error::stored(
            format!("the metadata of stream \"{stream_name}\""),
            String::from_utf8_lossy(metadata),
            "an object",
        ));
    }
    Ok(StreamState {
        stream_name,
        metadata,
        is_archived: get(row, "is_archived")?,
    })
}

/// Locks the rows of streams, and says of each that exists whether it is archived.
pub(crate) fn lock(
    sql: &mut dyn Sql,
    partition: &Partition,
    streams: &[&str],
) -> Result<BTreeMap<String, bool>> {
    let parameters = [
        param(&streams, Type::TEXT_ARRAY),
        param(&partition.name, Type::TEXT),
    ];
    sql.query(&partition.sql(LOCK), &parameters)
        .map_err(|source| refused(partition, source))?
        .iter()
        .map(|row| Ok((get(row, "stream_id")?, get(row, "is_archived")?)))
        .collect()
}

/// Replaces the metadata of streams.
pub(crate) fn set_metadata(
    sql: &mut dyn Sql,
    partition: &Partition,
    streams: &[&str],
    metadata: &[Jsonb<'_>],
) -> Result<()> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&streams, Type::TEXT_ARRAY),
        param(&metadata, Type::JSONB_ARRAY),
    ];
    sql.execute(&partition.sql(SET_METADATA), &parameters)
        .map_err(|source| refused(partition, source))?;
    Ok(())
}

/// Moves streams to the archive or back.
pub(crate) fn move_all(
    sql: &mut dyn Sql,
    partition: &Partition,
    streams: &[&str],
    to_archive: bool,
) -> Result<()> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&streams, Type::TEXT_ARRAY),
        param(&to_archive, Type::BOOL),
    ];
    sql.query(&partition.sql(MOVE), &parameters)
        .map_err(|source| refused(partition, source))?;
    Ok(())
}

fn refused(partition: &Partition, source: postgres::Error) -> Error {
    Error::in_partition("import the states of streams", &partition.name, source)
}

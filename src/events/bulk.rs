//! Storing many messages at once: the steps of an append as separate statements, and one `COPY` of the rows.

use crate::database::position::{get_u64, time_from_sql, to_sql};
use crate::database::{Jsonb, Sql, get, param, scalar};
use crate::error::{Error, Result};
use crate::events::message::RecordedMessage;
use crate::events::partition::{Partition, PartitionSql};
use crate::events::stream::stream_type;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::Type;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

const FENCE: PartitionSql = PartitionSql::new(
    "SELECT {schema}.emt_fence($1), (extract(EPOCH FROM now()) OPERATOR(pg_catalog.*) 1000000)::BIGINT AS time",
);

/// Takes the stream rows in the order of their names, as every append to several streams does.
const ADVANCE: PartitionSql = PartitionSql::new(
    "
    INSERT INTO {streams_active} AS stream
        (stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
    SELECT added.id, added.count, $1, added.type, '{}', FALSE
      FROM unnest($2, $3, $4) AS added (id, type, count)
    ON CONFLICT (stream_id, partition, is_archived) DO UPDATE
        SET stream_position = stream.stream_position + EXCLUDED.stream_position
    RETURNING stream_id, stream_position",
);

const FIND_ARCHIVED: PartitionSql =
    PartitionSql::new("SELECT stream_id FROM {streams_archived} WHERE stream_id = ANY($1) LIMIT 1");

/// Runs after the stream rows are taken: the global order has to follow the order in each stream.
const DRAW_POSITIONS: PartitionSql = PartitionSql::new("
    SELECT pg_catalog.array_agg(pg_catalog.nextval('{schema}.emt_global_message_position'::REGCLASS)) FROM pg_catalog.generate_series(1, $1)");

const COPY: PartitionSql = PartitionSql::new("
    COPY {messages_active}
        (stream_position, global_position, created, message_kind, stream_id, partition, message_schema_version,
         message_id, message_type, message_data, message_metadata)
    FROM STDIN BINARY");

const NOTE_IDS: PartitionSql = PartitionSql::new(
    "
    INSERT INTO {schema}.emt_message_ids (partition, stream_id, id_hash, stream_position)
    SELECT $1, given.stream, {schema}.emt_append_id_hash(given.id), given.version
      FROM unnest($2, $3, $4) AS given (stream, id, version)
        ON CONFLICT DO NOTHING",
);

const COPIED_TYPES: [Type; 11] = [
    Type::INT8,
    Type::INT8,
    Type::TIMESTAMPTZ,
    Type::VARCHAR,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::JSONB,
    Type::JSONB,
];

/// Takes the fence, and returns the time of the transaction: that of messages without a time of their own.
pub(crate) fn fence(sql: &mut dyn Sql, partition: &Partition) -> Result<SystemTime> {
    let rows = sql
        .query(&partition.sql(FENCE), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| refused(partition, source))?;
    let time: i64 = rows.first().map_or(Ok(0), |row| get(row, "time"))?;
    Ok(time_from_sql(time))
}

/// Advances each stream row by its number of messages, and returns the new versions.
pub(crate) fn advance_streams(
    sql: &mut dyn Sql,
    partition: &Partition,
    counts: &BTreeMap<&Arc<str>, i64>,
) -> Result<Vec<(Arc<str>, u64)>> {
    let names: Vec<&str> = counts.keys().map(|name| &***name).collect();
    let types: Vec<&str> = names.iter().map(|name| stream_type(name)).collect();
    let added: Vec<i64> = counts.values().copied().collect();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&names, Type::TEXT_ARRAY),
        param(&types, Type::TEXT_ARRAY),
        param(&added, Type::INT8_ARRAY),
    ];
    sql.query(&partition.sql(ADVANCE), &parameters)
        .map_err(|source| refused(partition, source))?
        .iter()
        .map(|row| {
            Ok((
                get::<&str>(row, "stream_id")?.into(),
                get_u64(row, "stream_position")?,
            ))
        })
        .collect()
}

/// Returns one of these streams that is archived, if any is.
pub(crate) fn find_archived(
    sql: &mut dyn Sql,
    partition: &Partition,
    streams: &[Arc<str>],
) -> Result<Option<String>> {
    let names: Vec<&str> = streams.iter().map(|name| &**name).collect();
    let rows = sql
        .query(
            &partition.sql(FIND_ARCHIVED),
            &[param(&names, Type::TEXT_ARRAY)],
        )
        .map_err(|source| refused(partition, source))?;
    Ok(scalar(&rows)?)
}

/// Draws this many positions, in ascending order.
pub(crate) fn draw_positions(
    sql: &mut dyn Sql,
    partition: &Partition,
    messages: usize,
) -> Result<Vec<i64>> {
    let count = to_sql(messages);
    let rows = sql
        .query(&partition.sql(DRAW_POSITIONS), &[param(&count, Type::INT8)])
        .map_err(|source| refused(partition, source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Writes messages that have their positions and times.
pub(crate) fn copy<'m>(
    sql: &mut dyn Sql,
    partition: &Partition,
    messages: impl Iterator<Item = &'m RecordedMessage>,
) -> Result<()> {
    let refused = |source| refused(partition, source);
    let writer = sql.copy_in(&partition.sql(COPY)).map_err(refused)?;
    let mut rows = BinaryCopyInWriter::new(writer, &COPIED_TYPES);
    for message in messages {
        rows.write(&[
            &to_sql(message.stream_position),
            &to_sql(message.global_position),
            &message.recorded_at,
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

/// Records caller-supplied message ids, so that an append with the same ids is recognized as a repeat.
pub(crate) fn note_ids(
    sql: &mut dyn Sql,
    partition: &Partition,
    given: &[&RecordedMessage],
) -> Result<()> {
    if given.is_empty() {
        return Ok(());
    }
    let streams: Vec<&str> = given.iter().map(|message| &*message.stream_name).collect();
    let ids: Vec<&str> = given.iter().map(|message| &*message.message_id).collect();
    let versions: Vec<i64> = given
        .iter()
        .map(|message| to_sql(message.stream_position))
        .collect();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&streams, Type::TEXT_ARRAY),
        param(&ids, Type::TEXT_ARRAY),
        param(&versions, Type::INT8_ARRAY),
    ];
    sql.execute(&partition.sql(NOTE_IDS), &parameters)
        .map_err(|source| refused(partition, source))?;
    Ok(())
}

fn refused(partition: &Partition, source: postgres::Error) -> Error {
    Error::in_partition("import", &partition.name, source)
}

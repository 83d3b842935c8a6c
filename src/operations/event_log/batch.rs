//! Storing a batch of lines: the order of locks that the feed relies on, and one `COPY`.

use crate::database::position::from_sql;
use crate::database::{Jsonb, Sql, get, param, scalar};
use crate::error::{Error, Result};
use crate::events::message::RecordedMessage;
use crate::events::partition::{Partition, PartitionSql};
use crate::events::stream::stream_type;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::Type;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const FENCE: PartitionSql = PartitionSql::new(
    "SELECT {schema}.emt_fence($1), (extract(EPOCH FROM now()) * 1000000)::BIGINT AS time",
);

/// Takes the stream rows in the order of their names, like every append to several streams.
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

/// After the stream rows: global order has to follow stream order.
const DRAW_POSITIONS: PartitionSql = PartitionSql::new("
    SELECT array_agg(nextval('{schema}.emt_global_message_position'::REGCLASS)) FROM generate_series(1, $1)");

const COPY: PartitionSql = PartitionSql::new("
    COPY {messages_active}
        (stream_position, global_position, message_kind, stream_id, partition, message_schema_version, message_id,
         message_type, message_data, message_metadata)
    FROM STDIN BINARY");

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

/// A checked line.
pub(super) struct BatchLine {
    pub(super) number: u64,
    pub(super) expected_position: Option<u64>,
    pub(super) message: RecordedMessage,
}

/// Takes the fence, then the stream rows, then the positions: the order that the feed relies on.
pub(super) fn place(
    sql: &mut dyn Sql,
    partition: &Partition,
    batch: &mut [BatchLine],
) -> Result<()> {
    let refused = |source| Error::in_partition("import", &partition.name, source);
    let fenced = sql
        .query(&partition.sql(FENCE), &[param(&partition.name, Type::TEXT)])
        .map_err(refused)?;
    let time: i64 = fenced.first().map_or(Ok(0), |row| get(row, "time"))?;
    let recorded_at = SystemTime::UNIX_EPOCH + Duration::from_micros(from_sql(time));

    let mut next = advance_streams(sql, partition, batch)?;
    let count = i32::try_from(batch.len()).unwrap_or(i32::MAX);
    let drawn = sql
        .query(&partition.sql(DRAW_POSITIONS), &[param(&count, Type::INT4)])
        .map_err(refused)?;
    let positions: Vec<i64> = scalar(&drawn)?.unwrap_or_default();
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
        let name: Arc<str> = get::<&str>(row, "stream_id")?.into();
        let version = from_sql(get(row, "stream_position")?);
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
    let archived: &str = get(row, "stream_id")?;
    let line = batch
        .iter()
        .find(|line| &*line.message.stream_name == archived);
    Err(Error::ImportLine {
        line: line.map_or(0, |line| line.number),
        reason: format!("stream \"{archived}\" is archived"),
    })
}

pub(super) fn copy(sql: &mut dyn Sql, partition: &Partition, batch: &[BatchLine]) -> Result<()> {
    let refused = |source| Error::in_partition("import", &partition.name, source);
    let writer = sql.copy_in(&partition.sql(COPY)).map_err(refused)?;
    let mut rows = BinaryCopyInWriter::new(writer, &COPIED_TYPES);
    for line in batch {
        let message = &line.message;
        rows.write(&[
            &crate::database::position::to_sql(message.stream_position),
            &crate::database::position::to_sql(message.global_position),
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

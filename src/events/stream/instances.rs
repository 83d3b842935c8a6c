//! The streams of workflows, for their operators.

use crate::database::position::{elapsed_from_sql, get_u64};
use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::partition::{Partition, PartitionSql};
use postgres::types::Type;
use std::time::Duration;

/// The oldest streams first. The last message of an instance that has ended says so.
const INSTANCES: PartitionSql = PartitionSql::new(
    "
    SELECT stream.stream_id, stream.stream_position, last.is_complete,
           (extract(EPOCH FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) first.created)
            OPERATOR(pg_catalog.*) 1000000)::BIGINT AS age,
           (extract(EPOCH FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) last.created)
            OPERATOR(pg_catalog.*) 1000000)::BIGINT AS idle
      FROM {streams_active} AS stream
     CROSS JOIN LATERAL (
               SELECT message.created FROM {messages_active} AS message
                WHERE message.stream_id = stream.stream_id
                ORDER BY message.stream_position
                LIMIT 1
           ) AS first
     CROSS JOIN LATERAL (
               SELECT message.created,
                      coalesce(message.message_metadata -> 'complete'::text = 'true'::jsonb, FALSE) AS is_complete
                 FROM {messages_active} AS message
                WHERE message.stream_id = stream.stream_id
                ORDER BY message.stream_position DESC
                LIMIT 1
           ) AS last
     WHERE stream.partition = $1 AND pg_catalog.starts_with(stream.stream_id, $2)
       AND ($3 IS NULL OR last.is_complete = $3)
     ORDER BY first.created, stream.stream_id
     LIMIT $4",
);

/// The stream of a workflow's instance.
pub(crate) struct InstanceStream {
    pub(crate) stream: String,
    pub(crate) version: u64,
    pub(crate) is_complete: bool,
    /// Time since its first message.
    pub(crate) age: Duration,
    /// Time since its last message.
    pub(crate) idle: Duration,
}

/// Returns the streams of workflows with this prefix, the oldest first, by the server's clock.
pub(crate) fn instances(
    sql: &mut dyn Sql,
    partition: &Partition,
    prefix: &str,
    is_complete: Option<bool>,
    limit: i64,
) -> Result<Vec<InstanceStream>> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&prefix, Type::TEXT),
        param(&is_complete, Type::BOOL),
        param(&limit, Type::INT8),
    ];
    let rows = sql
        .query(&partition.sql(INSTANCES), &parameters)
        .map_err(|source| Error::in_partition("list workflows", &partition.name, source))?;
    rows.iter()
        .map(|row| {
            Ok(InstanceStream {
                stream: get(row, "stream_id")?,
                version: get_u64(row, "stream_position")?,
                is_complete: get(row, "is_complete")?,
                age: elapsed_from_sql(get(row, "age")?),
                idle: elapsed_from_sql(get(row, "idle")?),
            })
        })
        .collect()
}

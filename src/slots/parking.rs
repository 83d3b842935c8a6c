//! Parked messages in a running consumer. It parks a message that it cannot handle, and the later messages of its stream. It
//! carries out requested replays and discards.

use super::key::ProcessorKey;
use super::lease::{HeldSlot, Holder};
use crate::database::position::{get_u64, small_to_sql, to_sql};
use crate::database::{ErrorText, Sql, get, param};
use crate::error::{Error, Result};
use crate::events::{PartitionSql, RecordedMessage};
use postgres::types::Type;

const STREAMS: PartitionSql = PartitionSql::new(
    "
    SELECT DISTINCT slot, stream_id FROM {schema}.emt_parked_messages
     WHERE partition = $1 AND processor = $2 AND version = $3 AND slot = ANY($4)",
);

const PARK: PartitionSql = PartitionSql::new("
    INSERT INTO {schema}.emt_parked_messages
        (partition, processor, version, slot, global_position, stream_id, stream_position, message_type, attempts, error)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, {schema}.emt_error_text($10))
    ON CONFLICT (partition, processor, version, slot, global_position) DO UPDATE
        SET attempts = EXCLUDED.attempts, error = EXCLUDED.error, request = NULL");

/// Whether a worker has a request to carry out: a discard, or the replay of the first parked message of a stream.
const HAS_REQUESTS: PartitionSql = PartitionSql::new("
    SELECT EXISTS (
               SELECT FROM {schema}.emt_parked_messages
                WHERE partition = $1 AND processor = $2 AND version = $3 AND request IS NOT NULL)
           AND EXISTS (
               SELECT FROM (
                   SELECT request, row_number() OVER (PARTITION BY slot, stream_id ORDER BY global_position) AS number
                     FROM {schema}.emt_parked_messages
                    WHERE partition = $1 AND processor = $2 AND version = $3
               ) AS parked
                WHERE request = 'discard' OR request = 'replay' AND number = 1) AS has_requests");

const DISCARD: PartitionSql = PartitionSql::new("
    DELETE FROM {schema}.emt_parked_messages
     WHERE partition = $1 AND processor = $2 AND version = $3 AND slot = ANY($4) AND request = 'discard'");

/// The first parked message of each stream, if its replay was requested: a later one must not overtake it.
const NEXT_REPLAY: PartitionSql = PartitionSql::new(
    "
    SELECT slot, global_position, stream_id FROM (
        SELECT DISTINCT ON (slot, stream_id) slot, global_position, stream_id, request
          FROM {schema}.emt_parked_messages
         WHERE partition = $1 AND processor = $2 AND version = $3 AND slot = ANY($4)
         ORDER BY slot, stream_id, global_position
    ) AS first
     WHERE request = 'replay'
     ORDER BY global_position
     LIMIT 1",
);

const UNPARK: PartitionSql = PartitionSql::new("
    DELETE FROM {schema}.emt_parked_messages
     WHERE partition = $1 AND processor = $2 AND version = $3 AND slot = $4 AND global_position = $5");

/// After a failed replay, the whole stream is parked again.
const REPLAY_FAILED: PartitionSql = PartitionSql::new("
    UPDATE {schema}.emt_parked_messages
       SET request = NULL,
           attempts = CASE WHEN global_position = $5 THEN attempts + 1 ELSE attempts END,
           error = CASE WHEN global_position = $5 THEN {schema}.emt_error_text($7) ELSE error END
     WHERE partition = $1 AND processor = $2 AND version = $3 AND slot = $4 AND stream_id = $6 AND request = 'replay'");

/// Locks a slot's row while a parked message is handled. Returns no row if the slot was lost.
const HOLD: PartitionSql = PartitionSql::new("
    SELECT FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2 AND version = $3 AND owner = $4 AND slot = $5 AND epoch = $6
       FOR UPDATE");

/// A parked message with a requested replay.
pub(crate) struct Replay {
    pub(crate) slot: i32,
    pub(crate) position: u64,
    pub(crate) stream: String,
}

/// Returns the streams with parked messages, by slot.
pub(crate) fn streams(
    sql: &mut dyn Sql,
    key: ProcessorKey<'_>,
    held: &[HeldSlot],
) -> Result<Vec<(i32, String)>> {
    let rows = query(sql, key, STREAMS, held, "find parked messages")?;
    rows.iter()
        .map(|row| Ok((get(row, "slot")?, get(row, "stream_id")?)))
        .collect()
}

/// Parks a message: with its handler's error, or without one if it follows a parked message of the stream. The stream is
/// that of the message, or that of the workflow's instance that gets it.
pub(crate) fn park(
    sql: &mut dyn Sql,
    key: ProcessorKey<'_>,
    slot: i32,
    message: &RecordedMessage,
    stream: &str,
    attempts: u32,
    error: Option<&str>,
) -> Result<()> {
    let position = to_sql(message.global_position());
    let stream_position = to_sql(message.stream_position());
    let kind = message.message_type();
    let error = error.map(ErrorText::new);
    let attempts = small_to_sql("the number of attempts", attempts)?;
    sql.execute(
        &key.partition.sql(PARK),
        &key.parameters([
            param(&slot, Type::INT4),
            param(&position, Type::INT8),
            param(&stream, Type::TEXT),
            param(&stream_position, Type::INT8),
            param(&kind, Type::TEXT),
            param(&attempts, Type::INT4),
            param(&error, Type::BYTEA),
        ]),
    )
    .map_err(|source| Error::database("park a message", source))?;
    Ok(())
}

/// Whether a worker can carry out a requested replay or discard.
pub(crate) fn has_requests(sql: &mut dyn Sql, key: ProcessorKey<'_>) -> Result<bool> {
    let rows = sql
        .query(&key.partition.sql(HAS_REQUESTS), &key.parameters([]))
        .map_err(|source| key.refused("read requests", source))?;
    let row = rows.first();
    Ok(row.map_or(Ok(false), |row| get(row, "has_requests"))?)
}

/// Discards the messages for which it was requested.
pub(crate) fn discard(sql: &mut dyn Sql, key: ProcessorKey<'_>, held: &[HeldSlot]) -> Result<()> {
    query(sql, key, DISCARD, held, "discard parked messages")?;
    Ok(())
}

/// Returns the next message whose replay was requested.
pub(crate) fn next_replay(
    sql: &mut dyn Sql,
    key: ProcessorKey<'_>,
    held: &[HeldSlot],
) -> Result<Option<Replay>> {
    let rows = query(sql, key, NEXT_REPLAY, held, "find requested replays")?;
    let replay = |row| {
        Ok(Replay {
            slot: get(row, "slot")?,
            position: get_u64(row, "global_position")?,
            stream: get(row, "stream_id")?,
        })
    };
    rows.first().map(replay).transpose()
}

/// Removes a handled message. Returns false if the slot was lost: nothing may be committed.
pub(crate) fn unpark(
    sql: &mut dyn Sql,
    key: ProcessorKey<'_>,
    holder: Holder<'_>,
    slot: HeldSlot,
    position: u64,
) -> Result<bool> {
    let refused = |source| Error::database("remove a parked message", source);
    let held = sql
        .query(
            &key.partition.sql(HOLD),
            &key.parameters([
                param(&holder.owner, Type::TEXT),
                param(&slot.slot, Type::INT4),
                param(&slot.epoch, Type::INT8),
            ]),
        )
        .map_err(refused)?;
    if held.is_empty() {
        return Ok(false);
    }
    let position = to_sql(position);
    sql.execute(
        &key.partition.sql(UNPARK),
        &key.parameters([param(&slot.slot, Type::INT4), param(&position, Type::INT8)]),
    )
    .map_err(refused)?;
    Ok(true)
}

/// Records a failed replay and parks the stream again.
pub(crate) fn replay_failed(
    sql: &mut dyn Sql,
    key: ProcessorKey<'_>,
    replay: &Replay,
    error: &str,
) -> Result<()> {
    let (position, error) = (to_sql(replay.position), ErrorText::new(error));
    sql.execute(
        &key.partition.sql(REPLAY_FAILED),
        &key.parameters([
            param(&replay.slot, Type::INT4),
            param(&position, Type::INT8),
            param(&replay.stream, Type::TEXT),
            param(&error, Type::BYTEA),
        ]),
    )
    .map_err(|source| Error::database("record a failed replay", source))?;
    Ok(())
}

fn query(
    sql: &mut dyn Sql,
    key: ProcessorKey<'_>,
    statement: PartitionSql,
    held: &[HeldSlot],
    doing: &'static str,
) -> Result<Vec<postgres::Row>> {
    let slots: Vec<i32> = held.iter().map(|slot| slot.slot).collect();
    sql.query(
        &key.partition.sql(statement),
        &key.parameters([param(&slots, Type::INT4_ARRAY)]),
    )
    .map_err(|source| Error::in_partition(doing, &key.partition.name, source))
}

//! Progress of processors, for jobs, for waiting callers, and for rebuilds.

use super::key::ProcessorKey;
use crate::database::position::{from_sql, get_u64, to_sql};
use crate::database::{Sql, get, param};
use crate::error::{Error, ProcessorError, Result};
use crate::events::{Partition, PartitionSql};
use postgres::types::Type;

const REACHED: PartitionSql = PartitionSql::new(
    "
    SELECT coalesce(pg_catalog.min(position), 0) AS position FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2 AND version = $3",
);

/// Returns the highest position of any slot, of one version or of all; without slots, the start position. The sequence is
/// read after the slots, because concurrent appends draw further positions.
const FURTHEST: PartitionSql = PartitionSql::new("
    WITH slot AS (
        SELECT pg_catalog.max(position) AS position, pg_catalog.min(store_epoch) AS epoch FROM {schema}.emt_processor_slots
         WHERE partition = $1 AND processor = $2 AND ($3 IS NULL OR version = $3)
    ), beginning AS (
        SELECT pg_catalog.max(position) AS position,
               pg_catalog.min({schema}.emt_store_epoch_of(position, updated_at)) AS epoch
          FROM {schema}.emt_processor_beginnings
         WHERE partition = $1 AND processor = $2 AND ($3 IS NULL OR version = $3)
    ), known AS MATERIALIZED (
        SELECT coalesce(slot.position, beginning.position, 0) AS position,
               coalesce(slot.epoch, beginning.epoch, {schema}.emt_store_epoch()) AS epoch
          FROM slot, beginning
    )
    SELECT position AS furthest, epoch, {schema}.emt_position_head() AS head, {schema}.emt_store_epoch() AS store_epoch
      FROM known");

/// Of the newest version.
const PROGRESS: PartitionSql = PartitionSql::new(
    "
    SELECT pg_catalog.min(slot.position) AS position, pg_catalog.max(slot.position) AS furthest, {schema}.emt_position_head() AS head,
           pg_catalog.min(slot.store_epoch) AS epoch, {schema}.emt_store_epoch() AS store_epoch,
           pg_catalog.bool_or(slot.status = 'failed') AS has_failed,
           pg_catalog.max(slot.last_error) AS last_error,
           (SELECT pg_catalog.array_agg(coalesce(parked.error, '') ORDER BY parked.slot)
              FROM {schema}.emt_parked_messages AS parked
             WHERE parked.partition = $1 AND parked.processor = $2 AND parked.version = slot.version
               AND parked.global_position = $3) AS parked
      FROM {schema}.emt_processor_slots AS slot
     WHERE slot.partition = $1 AND slot.processor = $2
     GROUP BY slot.version
     ORDER BY slot.version DESC
     LIMIT 1",
);

const IS_RUNNING: PartitionSql = PartitionSql::new("
    SELECT EXISTS (SELECT FROM {schema}.emt_processor_slots
                    WHERE partition = $1 AND processor = $2 AND expires_at > clock_timestamp()) AS is_running");

/// The furthest position of a processor, and the store's current head and epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// Highest position of its slots.
    pub(crate) furthest: u64,
    /// Last position that was drawn.
    pub(crate) head: u64,
    /// Lowest epoch of its slots.
    pub(crate) epoch: u64,
    pub(crate) store_epoch: u64,
}

impl Reach {
    fn from_row(row: &postgres::Row) -> Result<Self> {
        Ok(Self {
            furthest: get_u64(row, "furthest")?,
            head: get_u64(row, "head")?,
            epoch: get_u64(row, "epoch")?,
            store_epoch: get_u64(row, "store_epoch")?,
        })
    }

    /// Fails if the position is not valid: no append has drawn it, or it was drawn again after a restore.
    pub(crate) fn check(self, processor: &str) -> Result<()> {
        refuse_beyond(processor, self.furthest, self.head)?;
        if self.epoch == self.store_epoch {
            return Ok(());
        }
        Err(Error::Processor(ProcessorError::OldEpoch {
            processor: processor.to_owned(),
            position: self.furthest,
            epoch: self.epoch,
            store_epoch: self.store_epoch,
        }))
    }
}

/// Progress of a processor, and the state of one message.
pub(crate) struct Progress {
    pub(crate) position: u64,
    pub(crate) reach: Reach,
    /// Error of the processor, if it has failed.
    pub(crate) failure: Option<String>,
    /// Error of the message, if it is parked; empty if it follows an earlier parked message.
    pub(crate) parked: Option<String>,
}

impl ProcessorKey<'_> {
    /// Returns the position that all slots of the processor have reached.
    pub(crate) fn reached(&self, sql: &mut dyn Sql) -> Result<u64> {
        let rows = sql
            .query(&self.partition.sql(REACHED), &self.parameters([]))
            .map_err(|source| self.refused("read a checkpoint", source))?;
        let position = rows.first().map_or(Ok(0), |row| get(row, "position"))?;
        Ok(from_sql(position)?)
    }
}

/// Fails if a processor, in one version or any, is ahead of the sequence or at an earlier epoch.
pub(crate) fn refuse_ahead(
    sql: &mut dyn Sql,
    partition: &Partition,
    processor: &str,
    version: Option<i32>,
) -> Result<()> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&processor, Type::TEXT),
        param(&version, Type::INT4),
    ];
    let rows = sql
        .query(&partition.sql(FURTHEST), &parameters)
        .map_err(|source| {
            Error::in_partition("read the progress of a processor", &partition.name, source)
        })?;
    rows.first()
        .map_or(Ok(()), |row| Reach::from_row(row)?.check(processor))
}

/// Fails if no append has drawn the position of a processor.
pub(crate) fn refuse_beyond(processor: &str, position: u64, head: u64) -> Result<()> {
    if position <= head {
        return Ok(());
    }
    Err(Error::Processor(ProcessorError::Ahead {
        processor: processor.to_owned(),
        position,
        head,
    }))
}

/// Returns the progress of the newest version of a processor; `None` if it has never run.
pub(crate) fn of_newest(
    sql: &mut dyn Sql,
    partition: &Partition,
    processor: &str,
    message: u64,
) -> Result<Option<Progress>> {
    let message = to_sql(message);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&processor, Type::TEXT),
        param(&message, Type::INT8),
    ];
    let rows = sql
        .query(&partition.sql(PROGRESS), &parameters)
        .map_err(|source| {
            Error::in_partition("read the progress of a processor", &partition.name, source)
        })?;
    rows.first().map(progress).transpose()
}

fn progress(row: &postgres::Row) -> Result<Progress> {
    let parked: Option<Vec<String>> = get(row, "parked")?;
    let error: Option<String> = get(row, "last_error")?;
    let has_failed: bool = get(row, "has_failed")?;
    Ok(Progress {
        position: get_u64(row, "position")?,
        reach: Reach::from_row(row)?,
        failure: has_failed.then(|| error.unwrap_or_default()),
        parked: parked.and_then(|errors| errors.into_iter().next()),
    })
}

/// Whether a worker holds a slot of the processor, in any version.
pub(crate) fn is_running(
    sql: &mut dyn Sql,
    partition: &Partition,
    processor: &str,
) -> Result<bool> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&processor, Type::TEXT),
    ];
    let rows = sql
        .query(&partition.sql(IS_RUNNING), &parameters)
        .map_err(|source| Error::in_partition("find a worker", &partition.name, source))?;
    Ok(rows
        .first()
        .map_or(Ok(false), |row| get(row, "is_running"))?)
}

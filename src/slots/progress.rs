//! How far a processor is: for jobs, for callers that wait for it, and for rebuilds.

use super::key::ProcessorKey;
use crate::database::position::{from_sql, to_sql};
use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::{Partition, PartitionSql};
use postgres::types::Type;

const REACHED: PartitionSql = PartitionSql::new(
    "
    SELECT coalesce(min(position), 0) AS position FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2 AND version = $3",
);

/// Of the newest version.
const PROGRESS: PartitionSql = PartitionSql::new(
    "
    SELECT min(slot.position) AS position, bool_or(slot.status = 'failed') AS has_failed,
           max(slot.last_error) AS last_error,
           (SELECT array_agg(coalesce(parked.error, '') ORDER BY parked.slot)
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

/// How far a processor is, and what has become of one message.
pub(crate) struct Progress {
    pub(crate) position: u64,
    /// Why it has failed, if it has.
    pub(crate) failure: Option<String>,
    /// Why the message is parked, if it is; empty when it comes after another parked one.
    pub(crate) parked: Option<String>,
}

impl ProcessorKey<'_> {
    /// How far all slots of the processor are.
    pub(crate) fn reached(&self, sql: &mut dyn Sql) -> Result<u64> {
        let rows = sql
            .query(&self.partition.sql(REACHED), &self.parameters([]))
            .map_err(|source| self.refused("look for a checkpoint", source))?;
        let position = rows.first().map_or(Ok(0), |row| get(row, "position"))?;
        Ok(from_sql(position))
    }
}

/// The progress of the newest version of a processor; `None` when it has never run.
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
        .map_err(|source| Error::in_partition("look at a processor", &partition.name, source))?;
    rows.first().map(progress).transpose()
}

fn progress(row: &postgres::Row) -> Result<Progress> {
    let parked: Option<Vec<String>> = get(row, "parked")?;
    let error: Option<String> = get(row, "last_error")?;
    let has_failed: bool = get(row, "has_failed")?;
    Ok(Progress {
        position: from_sql(get(row, "position")?),
        failure: has_failed.then(|| error.unwrap_or_default()),
        parked: parked.and_then(|errors| errors.into_iter().next()),
    })
}

/// Whether a worker holds a slot of the processor, of whatever version.
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
        .map_err(|source| Error::in_partition("look for a worker", &partition.name, source))?;
    Ok(rows
        .first()
        .map_or(Ok(false), |row| get(row, "is_running"))?)
}

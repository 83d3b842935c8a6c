//! Resetting and forgetting a processor.

use super::key::ProcessorKey;
use crate::database::position::{from_sql, stored_to_sql};
use crate::database::{Sql, get, param};
use crate::error::{Error, ProcessorError, Result};
use crate::events::PartitionSql;
use postgres::types::Type;

const RESET: PartitionSql =
    PartitionSql::new("SELECT {schema}.emt_slot_reset($1, $2, $3, $4) AS slots");

const RESET_BEGINNING: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_processor_beginnings
       SET position = $4, updated_at = now()
     WHERE partition = $1 AND processor = $2 AND version = $3",
);

const FORGET_PARKED: PartitionSql = PartitionSql::new("
    DELETE FROM {schema}.emt_parked_messages WHERE partition = $1 AND processor = $2 AND version = $3");

const FORGET_SLOTS: PartitionSql = PartitionSql::new("
    DELETE FROM {schema}.emt_processor_slots WHERE partition = $1 AND processor = $2 AND version = $3");

const FORGET_BEGINNING: PartitionSql = PartitionSql::new("
    DELETE FROM {schema}.emt_processor_beginnings WHERE partition = $1 AND processor = $2 AND version = $3");

const LOCK: PartitionSql = PartitionSql::new(
    "
    SELECT CASE WHEN expires_at > clock_timestamp() THEN owner END AS owner
      FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2 AND version = $3
     ORDER BY slot
       FOR UPDATE",
);

/// Result of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessorReset {
    /// Number of slots that were reset; 0 if the processor has never run here and only its start position was set.
    pub slots: u64,
    /// Number of parked messages that were discarded. Messages after the position are handled again.
    pub unparked: u64,
    /// Whether the processor runs. If so, it resumes after the position by itself.
    pub owner_running: bool,
}

impl ProcessorKey<'_> {
    /// Sets all slots to a position. Their holder keeps them and resumes after it.
    pub(crate) fn reset(&self, sql: &mut dyn Sql, position: u64) -> Result<ProcessorReset> {
        let position = stored_to_sql("the position", position)?;
        let parameters = self.parameters([param(&position, Type::INT8)]);
        let owners = self.lock(sql)?;
        let rows = sql
            .query(&self.partition.sql(RESET), &parameters)
            .map_err(refused)?;
        let slots = rows.first().map_or(Ok(0), |row| get(row, "slots"))?;
        sql.execute_unnamed(&self.partition.sql(RESET_BEGINNING), &parameters)
            .map_err(refused)?;
        let unparked = sql
            .execute(&self.partition.sql(FORGET_PARKED), &parameters[..3])
            .map_err(refused)?;
        Ok(ProcessorReset {
            slots: from_sql(slots)?,
            unparked,
            owner_running: owners.iter().any(Option::is_some),
        })
    }

    /// Deletes all rows of the processor.
    pub(crate) fn forget(&self, sql: &mut dyn Sql) -> Result<()> {
        if let Some(owner) = self.lock(sql)?.into_iter().flatten().next() {
            return Err(Error::Processor(ProcessorError::Held {
                processor: self.name.to_owned(),
                owner,
            }));
        }
        let parameters = self.parameters([]);
        for statement in [FORGET_PARKED, FORGET_SLOTS, FORGET_BEGINNING] {
            sql.execute_unnamed(&self.partition.sql(statement), &parameters)
                .map_err(refused)?;
        }
        Ok(())
    }

    /// Locks the slots, so that no worker takes one meanwhile. Returns the holder of each.
    fn lock(&self, sql: &mut dyn Sql) -> Result<Vec<Option<String>>> {
        sql.query(&self.partition.sql(LOCK), &self.parameters([]))
            .map_err(refused)?
            .iter()
            .map(|row| Ok(get(row, "owner")?))
            .collect()
    }
}

fn refused(source: postgres::Error) -> Error {
    Error::database("change a processor", source)
}

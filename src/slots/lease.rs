//! Leases of a running consumer: taking and releasing slots, and writing checkpoints.

use super::key::ProcessorKey;
use crate::database::position::{get_u32, get_u64, small_to_sql, stored_to_sql, to_sql};
use crate::database::{Sql, get, param};
use crate::error::Result;
use crate::events::{HandledEvents, PartitionSql};
use postgres::types::Type;
use serde_json::json;
use std::time::Duration;

const REGISTER: PartitionSql = PartitionSql::new(
    "SELECT {schema}.emt_processor_register($1, $2, $3, $4, $5, $6, $7, $8) AS slots",
);

const TAKE: PartitionSql = PartitionSql::new(
    "
    SELECT slot, position, epoch, crashes
      FROM {schema}.emt_slot_take($1, $2, $3, $4, $5, pg_catalog.make_interval(secs => $6), $7)",
);

/// The compare-and-set that commits a batch. A worker that lost one of its slots updates too few rows. If the processor has
/// failed, every worker does.
const CHECKPOINT: PartitionSql = PartitionSql::new("
    UPDATE {schema}.emt_processor_slots AS slot
       SET position = greatest(slot.position, $5), attempted = NULL, attempts = 0, busy_since = NULL, updated_at = now(),
           expires_at = clock_timestamp() + pg_catalog.make_interval(secs => $9)
      FROM unnest($6, $7, $8) AS held (slot, epoch, position)
     WHERE slot.partition = $1 AND slot.processor = $2 AND slot.version = $3 AND slot.owner = $4
       AND slot.slot = held.slot AND slot.epoch = held.epoch AND slot.position = held.position
       AND slot.status = 'active'");

/// A holder may try a message several times because of the database. The number counts the holders that tried it and died.
const ATTEMPT: PartitionSql = PartitionSql::new("
    UPDATE {schema}.emt_processor_slots
       SET attempts = CASE WHEN attempted IS DISTINCT FROM $5 THEN 1
                           WHEN attempt_epoch = epoch THEN attempts
                           ELSE attempts + 1 END,
           attempted = $5, attempt_epoch = epoch
     WHERE partition = $1 AND processor = $2 AND version = $3 AND owner = $4 AND slot = $6 AND epoch = $7
    RETURNING attempts");

/// Returns fewer slots than requested if one was lost or the processor has failed.
const HOLDS: PartitionSql = PartitionSql::new(
    "
    SELECT count(*) AS still_held
      FROM {schema}.emt_processor_slots AS slot
      JOIN unnest($5, $6) AS held (slot, epoch) USING (slot, epoch)
     WHERE slot.partition = $1 AND slot.processor = $2 AND slot.version = $3 AND slot.owner = $4
       AND slot.status = 'active'",
);

/// A slot that was taken since has another epoch. Its position may come from the next holder.
const HAS_MOVED: PartitionSql = PartitionSql::new(
    "
    SELECT count(*) AS moved
      FROM {schema}.emt_processor_slots AS slot
      JOIN unnest($4, $5) AS held (slot, epoch) USING (slot, epoch)
     WHERE slot.partition = $1 AND slot.processor = $2 AND slot.version = $3 AND slot.position >= $6",
);

const RELEASE: PartitionSql =
    PartitionSql::new("SELECT {schema}.emt_slot_release($1, $2, $3, $4, $5, $6)");

/// Expires the leases of a process that has ended, as time would.
const EXPIRE: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_processor_slots SET expires_at = clock_timestamp()
     WHERE partition = $1 AND processor = $2 AND version = $3 AND owner = $4",
);

const OTHER_OWNER: PartitionSql = PartitionSql::new("
    SELECT owner, extract(EPOCH FROM expires_at)::DOUBLE PRECISION AS until FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2 AND version = $3 AND owner <> $4 AND expires_at > clock_timestamp()
     ORDER BY slot LIMIT 1");

/// A worker of a process.
#[derive(Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub(crate) owner: &'a str,
    pub(crate) worker: i32,
    pub(crate) lease: Duration,
}

/// A slot that a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldSlot {
    pub(crate) slot: i32,
    /// Its checkpoint.
    pub(crate) position: u64,
    pub(crate) epoch: i64,
    /// How many holders died at this position.
    pub(crate) crashes: i32,
}

impl ProcessorKey<'_> {
    /// Ensures that the processor has slots, and returns their number. Resets a failed processor to active. `projection` is
    /// its projection, with the tables that it writes. `handled` are the events that its code handles.
    pub(crate) fn register(
        &self,
        sql: &mut dyn Sql,
        slots: u32,
        start: u64,
        projection: Option<(&str, &[String])>,
        handled: &HandledEvents,
    ) -> Result<u32> {
        let (projection, tables) = projection.unzip();
        let slots = small_to_sql("the number of slots", slots)?;
        let start = stored_to_sql("the position to start from", start)?;
        let handled = json!(handled.sorted());
        let rows = sql
            .query(
                &self.partition.sql(REGISTER),
                &self.parameters([
                    param(&slots, Type::INT4),
                    param(&start, Type::INT8),
                    param(&projection, Type::TEXT),
                    param(&handled, Type::JSONB),
                    param(&tables, Type::TEXT_ARRAY),
                ]),
            )
            .map_err(|source| self.refused("register a processor", source))?;
        Ok(rows.first().map_or(Ok(0), |row| get_u32(row, "slots"))?)
    }

    /// Releases slots that others want, takes this worker's share, and returns all slots that it then holds. `workers` is
    /// the number of running workers of the processor in this consumer.
    pub(crate) fn take(
        &self,
        sql: &mut dyn Sql,
        holder: Holder<'_>,
        workers: usize,
    ) -> Result<Vec<HeldSlot>> {
        let lease = holder.lease.as_secs_f64();
        let workers = i32::try_from(workers).unwrap_or(i32::MAX);
        let parameters = self.parameters([
            param(&holder.owner, Type::TEXT),
            param(&holder.worker, Type::INT4),
            param(&lease, Type::FLOAT8),
            param(&workers, Type::INT4),
        ]);
        self.release_where(sql, holder, true)?;
        let rows = sql
            .query(&self.partition.sql(TAKE), &parameters)
            .map_err(|source| self.refused("take slots", source))?;
        rows.iter()
            .map(|row| {
                Ok(HeldSlot {
                    slot: get_u32(row, "slot")?.cast_signed(),
                    position: get_u64(row, "position")?,
                    epoch: get(row, "epoch")?,
                    crashes: get(row, "crashes")?,
                })
            })
            .collect()
    }

    /// Moves the checkpoint of all slots of a worker. Returns false if one of them was lost: nothing may be committed.
    pub(crate) fn checkpoint(
        &self,
        sql: &mut dyn Sql,
        holder: Holder<'_>,
        held: &[HeldSlot],
        position: u64,
    ) -> Result<bool> {
        let slots: Vec<i32> = held.iter().map(|slot| slot.slot).collect();
        let epochs: Vec<i64> = held.iter().map(|slot| slot.epoch).collect();
        let positions: Vec<i64> = held.iter().map(|slot| to_sql(slot.position)).collect();
        let (position, lease) = (to_sql(position), holder.lease.as_secs_f64());
        let changed = sql
            .execute(
                &self.partition.sql(CHECKPOINT),
                &self.parameters([
                    param(&holder.owner, Type::TEXT),
                    param(&position, Type::INT8),
                    param(&slots, Type::INT4_ARRAY),
                    param(&epochs, Type::INT8_ARRAY),
                    param(&positions, Type::INT8_ARRAY),
                    param(&lease, Type::FLOAT8),
                ]),
            )
            .map_err(|source| self.refused("move a checkpoint", source))?;
        Ok(changed == held.len() as u64)
    }

    /// Records an attempt at a message that may crash the process. Returns the number of holders that have tried it,
    /// including this one; `None` if the slot was lost.
    pub(crate) fn attempt(
        &self,
        sql: &mut dyn Sql,
        holder: Holder<'_>,
        slot: HeldSlot,
        position: u64,
    ) -> Result<Option<i32>> {
        let position = to_sql(position);
        let rows = sql
            .query(
                &self.partition.sql(ATTEMPT),
                &self.parameters([
                    param(&holder.owner, Type::TEXT),
                    param(&position, Type::INT8),
                    param(&slot.slot, Type::INT4),
                    param(&slot.epoch, Type::INT8),
                ]),
            )
            .map_err(|source| self.refused("record an attempt", source))?;
        Ok(rows.first().map(|row| get(row, "attempts")).transpose()?)
    }

    /// Whether a worker still holds all these slots. Only reads, so nothing waits for it.
    pub(crate) fn holds(
        &self,
        sql: &mut dyn Sql,
        holder: Holder<'_>,
        held: &[HeldSlot],
    ) -> Result<bool> {
        let slots: Vec<i32> = held.iter().map(|slot| slot.slot).collect();
        let epochs: Vec<i64> = held.iter().map(|slot| slot.epoch).collect();
        let rows = sql
            .query(
                &self.partition.sql(HOLDS),
                &self.parameters([
                    param(&holder.owner, Type::TEXT),
                    param(&slots, Type::INT4_ARRAY),
                    param(&epochs, Type::INT8_ARRAY),
                ]),
            )
            .map_err(|source| self.refused("check a lease", source))?;
        let still: i64 = rows.first().map_or(Ok(0), |row| get(row, "still_held"))?;
        Ok(still == to_sql(held.len()))
    }

    /// Whether a checkpoint whose outcome is unknown was stored.
    pub(crate) fn has_moved(
        &self,
        sql: &mut dyn Sql,
        held: &[HeldSlot],
        position: u64,
    ) -> Result<bool> {
        let slots: Vec<i32> = held.iter().map(|slot| slot.slot).collect();
        let epochs: Vec<i64> = held.iter().map(|slot| slot.epoch).collect();
        let position = to_sql(position);
        let rows = sql
            .query(
                &self.partition.sql(HAS_MOVED),
                &self.parameters([
                    param(&slots, Type::INT4_ARRAY),
                    param(&epochs, Type::INT8_ARRAY),
                    param(&position, Type::INT8),
                ]),
            )
            .map_err(|source| self.refused("read a checkpoint", source))?;
        let moved: i64 = rows.first().map_or(Ok(0), |row| get(row, "moved"))?;
        Ok(moved == to_sql(held.len()))
    }

    /// Releases all slots of a worker.
    pub(crate) fn release(&self, sql: &mut dyn Sql, holder: Holder<'_>) -> Result<()> {
        self.release_where(sql, holder, false)
    }

    /// Lets all leases of a process expire now. Its workers must have ended.
    pub(crate) fn expire(&self, sql: &mut dyn Sql, owner: &str) -> Result<()> {
        sql.execute(
            &self.partition.sql(EXPIRE),
            &self.parameters([param(&owner, Type::TEXT)]),
        )
        .map_err(|source| self.refused("let leases expire", source))?;
        Ok(())
    }

    fn release_where(
        &self,
        sql: &mut dyn Sql,
        holder: Holder<'_>,
        only_wanted: bool,
    ) -> Result<()> {
        sql.query(
            &self.partition.sql(RELEASE),
            &self.parameters([
                param(&holder.owner, Type::TEXT),
                param(&holder.worker, Type::INT4),
                param(&only_wanted, Type::BOOL),
            ]),
        )
        .map_err(|source| self.refused("release a lease", source))?;
        Ok(())
    }

    /// Returns another process that holds a slot, and the remaining seconds of its lease.
    pub(crate) fn other_owner(
        &self,
        sql: &mut dyn Sql,
        owner: &str,
    ) -> Result<Option<(String, f64)>> {
        let rows = sql
            .query(
                &self.partition.sql(OTHER_OWNER),
                &self.parameters([param(&owner, Type::TEXT)]),
            )
            .map_err(|source| self.refused("find a processor's owner", source))?;
        let owner = |row| Ok((get(row, "owner")?, get(row, "until")?));
        rows.first().map(owner).transpose()
    }
}

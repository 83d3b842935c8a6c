//! The leases of a running consumer: taking and releasing slots, and writing their checkpoints.

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
      FROM {schema}.emt_slot_take($1, $2, $3, $4, $5, pg_catalog.make_interval(secs => $6))",
);

/// The compare-and-set that makes a batch count: whoever has lost one of its slots changes too few rows, and so does everybody
/// when the processor has failed.
const CHECKPOINT: PartitionSql = PartitionSql::new("
    UPDATE {schema}.emt_processor_slots AS slot
       SET position = greatest(slot.position, $5), attempted = NULL, attempts = 0, busy_since = NULL, updated_at = now(),
           expires_at = clock_timestamp() + pg_catalog.make_interval(secs => $9)
      FROM unnest($6, $7, $8) AS held (slot, epoch, position)
     WHERE slot.partition = $1 AND slot.processor = $2 AND slot.version = $3 AND slot.owner = $4
       AND slot.slot = held.slot AND slot.epoch = held.epoch AND slot.position = held.position
       AND slot.status = 'active'");

/// One holder may try a message several times, because of the database; what counts is how many have tried it and died.
const ATTEMPT: PartitionSql = PartitionSql::new("
    UPDATE {schema}.emt_processor_slots
       SET attempts = CASE WHEN attempted IS DISTINCT FROM $5 THEN 1
                           WHEN attempt_epoch = epoch THEN attempts
                           ELSE attempts + 1 END,
           attempted = $5, attempt_epoch = epoch
     WHERE partition = $1 AND processor = $2 AND version = $3 AND owner = $4 AND slot = $6 AND epoch = $7
    RETURNING attempts");

/// Fewer than were asked for when one was lost, or the processor has failed.
const HOLDS: PartitionSql = PartitionSql::new(
    "
    SELECT count(*) AS still_held
      FROM {schema}.emt_processor_slots AS slot
      JOIN unnest($5, $6) AS held (slot, epoch) USING (slot, epoch)
     WHERE slot.partition = $1 AND slot.processor = $2 AND slot.version = $3 AND slot.owner = $4
       AND slot.status = 'active'",
);

/// A slot that was taken since has another epoch: its position may be the next holder's work.
const HAS_MOVED: PartitionSql = PartitionSql::new(
    "
    SELECT count(*) AS moved
      FROM {schema}.emt_processor_slots AS slot
      JOIN unnest($4, $5) AS held (slot, epoch) USING (slot, epoch)
     WHERE slot.partition = $1 AND slot.processor = $2 AND slot.version = $3 AND slot.position >= $6",
);

const RELEASE: PartitionSql =
    PartitionSql::new("SELECT {schema}.emt_slot_release($1, $2, $3, $4, $5, $6)");

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
    /// How many holders have died at this position.
    pub(crate) crashes: i32,
}

impl ProcessorKey<'_> {
    /// Makes sure that the processor has slots, and returns how many. One that has failed may be run again.
    /// `projection`: the one that it keeps, and the tables that it writes. `handled`: what its code handles.
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

    /// Gives up what others want, takes what this worker should have, and returns all that it holds then.
    pub(crate) fn take(&self, sql: &mut dyn Sql, holder: Holder<'_>) -> Result<Vec<HeldSlot>> {
        let lease = holder.lease.as_secs_f64();
        let parameters = self.parameters([
            param(&holder.owner, Type::TEXT),
            param(&holder.worker, Type::INT4),
            param(&lease, Type::FLOAT8),
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

    /// Moves the checkpoint of all slots of a worker; false when it has lost one of them, and nothing may be committed.
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

    /// Notes that a message is about to be handled that may kill the process; returns how many holders have tried it, this one
    /// included, or `None` when the slot is lost.
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
            .map_err(|source| self.refused("note an attempt", source))?;
        Ok(rows.first().map(|row| get(row, "attempts")).transpose()?)
    }

    /// Whether a worker still holds all these slots. It only reads: nothing waits for it.
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
            .map_err(|source| self.refused("look for a lease", source))?;
        let still: i64 = rows.first().map_or(Ok(0), |row| get(row, "still_held"))?;
        Ok(still == to_sql(held.len()))
    }

    /// Whether a checkpoint was moved whose outcome is unknown.
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
            .map_err(|source| self.refused("look for a checkpoint", source))?;
        let moved: i64 = rows.first().map_or(Ok(0), |row| get(row, "moved"))?;
        Ok(moved == to_sql(held.len()))
    }

    /// Gives back all slots of a worker.
    pub(crate) fn release(&self, sql: &mut dyn Sql, holder: Holder<'_>) -> Result<()> {
        self.release_where(sql, holder, false)
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
        .map_err(|source| self.refused("give back a lease", source))?;
        Ok(())
    }

    /// Another process that holds a slot, and until when, in seconds.
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
            .map_err(|source| self.refused("look for a processor's owner", source))?;
        let owner = |row| Ok((get(row, "owner")?, get(row, "until")?));
        rows.first().map(owner).transpose()
    }
}

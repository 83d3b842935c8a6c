//! Who runs a processor, and how far it is. Owns the statements on `emt_processor_slots`.

use crate::database::position::{from_sql, to_sql};
use crate::database::{Parameter, Sql, get, param};
use crate::error::{Error, Result};
use crate::events::partition::Partition;
use postgres::types::Type;
use std::time::Duration;

const REGISTER: &str = "SELECT {schema}.emt_processor_register($1, $2, $3, $4, $5)";

/// What the others want of this worker, which has nothing in hand now. `wanted_by` stays, and keeps everybody else away.
const GIVE_UP_WANTED: &str = "
    UPDATE {schema}.emt_processor_slots SET owner = NULL, worker = NULL, expires_at = NULL
     WHERE partition = $1 AND processor = $2 AND version = $3 AND owner = $4 AND worker = $5
       AND wanted_until > clock_timestamp()";

const TAKE: &str = "
    SELECT slot, position, epoch, crashes
      FROM {schema}.emt_slot_take($1, $2, $3, $4, $5, make_interval(secs => $6))";

/// Rows that a worker of this process is committing are passed over: its checkpoint renews the lease, too.
const RENEW: &str = "
    UPDATE {schema}.emt_processor_slots AS slot SET expires_at = clock_timestamp() + make_interval(secs => $3)
      FROM (SELECT partition, processor, version, slot FROM {schema}.emt_processor_slots
             WHERE partition = $1 AND owner = $2
               FOR UPDATE SKIP LOCKED) AS held
     WHERE slot.partition = held.partition AND slot.processor = held.processor AND slot.version = held.version
       AND slot.slot = held.slot";

/// Each slot that the process holds, locked or not, with what its worker has to know.
const HELD: &str = "
    SELECT processor, version, worker, slot, epoch, wanted_until > clock_timestamp() IS TRUE
      FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND owner = $2";

/// The compare-and-set that makes a batch count: whoever has lost one of its slots changes too few rows, and so does everybody
/// when the processor has failed.
const CHECKPOINT: &str = "
    UPDATE {schema}.emt_processor_slots AS slot
       SET position = greatest(slot.position, $5), attempted = NULL, attempts = 0, updated_at = now(),
           expires_at = clock_timestamp() + make_interval(secs => $9)
      FROM unnest($6, $7, $8) AS held (slot, epoch, position)
     WHERE slot.partition = $1 AND slot.processor = $2 AND slot.version = $3 AND slot.owner = $4
       AND slot.slot = held.slot AND slot.epoch = held.epoch AND slot.position = held.position
       AND slot.status = 'active'";

/// One holder may try a message several times, because of the database; what counts is how many have tried it and died.
const ATTEMPT: &str = "
    UPDATE {schema}.emt_processor_slots
       SET attempts = CASE WHEN attempted IS DISTINCT FROM $5 THEN 1
                           WHEN attempt_epoch = epoch THEN attempts
                           ELSE attempts + 1 END,
           attempted = $5, attempt_epoch = epoch
     WHERE partition = $1 AND processor = $2 AND version = $3 AND owner = $4 AND slot = $6 AND epoch = $7
    RETURNING attempts";

const RELEASE: &str = "
    UPDATE {schema}.emt_processor_slots
       SET owner = NULL, worker = NULL, expires_at = NULL, crashes = 0, attempted = NULL, attempts = 0
     WHERE partition = $1 AND processor = $2 AND version = $3 AND owner = $4 AND worker = $5";

const FAIL: &str = "
    UPDATE {schema}.emt_processor_slots
       SET status = 'failed', last_error = $4, updated_at = now()
     WHERE partition = $1 AND processor = $2 AND version = $3";

const FAILURE: &str = "
    SELECT last_error FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2 AND version = $3 AND status = 'failed'
     LIMIT 1";

const OWNER: &str = "
    SELECT owner, extract(EPOCH FROM expires_at)::DOUBLE PRECISION FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2 AND version = $3 AND owner <> $4 AND expires_at > clock_timestamp()
     ORDER BY slot LIMIT 1";

const REACHED: &str = "
    SELECT min(position) FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2 AND version = $3";

/// A processor in a partition.
#[derive(Clone, Copy)]
pub(super) struct ProcessorKey<'a> {
    pub(super) partition: &'a Partition,
    pub(super) name: &'a str,
    pub(super) version: i32,
}

/// A worker of a process.
#[derive(Clone, Copy)]
pub(super) struct Holder<'a> {
    pub(super) owner: &'a str,
    pub(super) worker: i32,
    pub(super) lease: Duration,
}

/// A slot that a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeldSlot {
    pub(super) slot: i32,
    /// Its checkpoint.
    pub(super) position: u64,
    pub(super) epoch: i64,
    /// How many holders have died at this position.
    pub(super) crashes: i32,
}

/// What the table says of a slot that this process holds.
pub(super) struct RenewedSlot {
    pub(super) processor: String,
    pub(super) version: i32,
    pub(super) worker: i32,
    pub(super) slot: i32,
    pub(super) epoch: i64,
    pub(super) wanted: bool,
}

impl ProcessorKey<'_> {
    /// Makes sure that the processor has slots, and returns how many. One that has failed may be run again.
    pub(super) fn register(&self, sql: &mut dyn Sql, slots: u32, start: u64) -> Result<u32> {
        let slots = i32::try_from(slots).unwrap_or(i32::MAX);
        let start = to_sql(start);
        let rows = sql
            .query(
                &self.partition.sql(REGISTER),
                &self.parameters([param(&slots, Type::INT4), param(&start, Type::INT8)]),
            )
            .map_err(|source| self.refused("register a processor", source))?;
        let stored: i32 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
        Ok(u32::try_from(stored).unwrap_or_default())
    }

    /// Gives up what others want, takes what this worker should have, and returns all that it holds then.
    pub(super) fn take(&self, sql: &mut dyn Sql, holder: Holder<'_>) -> Result<Vec<HeldSlot>> {
        let lease = holder.lease.as_secs_f64();
        let parameters = self.parameters([
            param(&holder.owner, Type::TEXT),
            param(&holder.worker, Type::INT4),
            param(&lease, Type::FLOAT8),
        ]);
        sql.execute(&self.partition.sql(GIVE_UP_WANTED), &parameters[..5])
            .map_err(|source| self.refused("give up slots", source))?;
        let rows = sql
            .query(&self.partition.sql(TAKE), &parameters)
            .map_err(|source| self.refused("take slots", source))?;
        rows.iter()
            .map(|row| {
                Ok(HeldSlot {
                    slot: get(row, 0)?,
                    position: from_sql(get(row, 1)?),
                    epoch: get(row, 2)?,
                    crashes: get(row, 3)?,
                })
            })
            .collect()
    }

    /// Moves the checkpoint of all slots of a worker; false when it has lost one of them, and nothing may be committed.
    pub(super) fn checkpoint(
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
    pub(super) fn attempt(
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
        rows.first().map(|row| get(row, 0)).transpose()
    }

    /// Gives back all slots of a worker.
    pub(super) fn release(&self, sql: &mut dyn Sql, holder: Holder<'_>) -> Result<()> {
        sql.execute(
            &self.partition.sql(RELEASE),
            &self.parameters([
                param(&holder.owner, Type::TEXT),
                param(&holder.worker, Type::INT4),
            ]),
        )
        .map_err(|source| self.refused("give back a lease", source))?;
        Ok(())
    }

    /// Stops the processor for everybody.
    pub(super) fn fail(&self, sql: &mut dyn Sql, error: &str) -> Result<()> {
        sql.execute(
            &self.partition.sql(FAIL),
            &self.parameters([param(&error, Type::TEXT)]),
        )
        .map_err(|source| self.refused("note a failure", source))?;
        Ok(())
    }

    /// Why the processor was stopped, by whatever process.
    pub(super) fn failure(&self, sql: &mut dyn Sql) -> Result<Option<String>> {
        let rows = sql
            .query(&self.partition.sql(FAILURE), &self.parameters([]))
            .map_err(|source| self.refused("look for a failure", source))?;
        Ok(match rows.first() {
            Some(row) => Some(get::<Option<String>>(row, 0)?.unwrap_or_default()),
            None => None,
        })
    }

    /// Another process that holds a slot, and until when, in seconds.
    pub(super) fn other_owner(
        &self,
        sql: &mut dyn Sql,
        owner: &str,
    ) -> Result<Option<(String, f64)>> {
        let rows = sql
            .query(
                &self.partition.sql(OWNER),
                &self.parameters([param(&owner, Type::TEXT)]),
            )
            .map_err(|source| self.refused("look for a processor's owner", source))?;
        let owner = |row| Ok((get(row, 0)?, get(row, 1)?));
        rows.first().map(owner).transpose()
    }

    /// How far all slots of the processor are.
    pub(super) fn reached(&self, sql: &mut dyn Sql) -> Result<u64> {
        let rows = sql
            .query(&self.partition.sql(REACHED), &self.parameters([]))
            .map_err(|source| self.refused("look for a checkpoint", source))?;
        let position = rows
            .first()
            .map_or(Ok(None), |row| get::<Option<i64>>(row, 0))?;
        Ok(from_sql(position.unwrap_or_default()))
    }

    /// The parameters that all statements on a processor begin with, and more.
    pub(super) fn parameters<'p, const N: usize>(
        &'p self,
        more: [Parameter<'p>; N],
    ) -> Vec<Parameter<'p>> {
        let key = [
            param(&self.partition.name, Type::TEXT),
            param(&self.name, Type::TEXT),
            param(&self.version, Type::INT4),
        ];
        key.into_iter().chain(more).collect()
    }

    fn refused(&self, doing: &'static str, source: postgres::Error) -> Error {
        Error::in_partition(doing, &self.partition.name, source)
    }
}

/// Renews all leases of a process, and tells what it holds.
pub(super) fn renew(
    sql: &mut dyn Sql,
    partition: &Partition,
    owner: &str,
    lease: Duration,
) -> Result<Vec<RenewedSlot>> {
    let lease = lease.as_secs_f64();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&owner, Type::TEXT),
        param(&lease, Type::FLOAT8),
    ];
    let refused = |source| Error::in_partition("renew leases", &partition.name, source);
    sql.execute(&partition.sql(RENEW), &parameters)
        .map_err(refused)?;
    let rows = sql
        .query(&partition.sql(HELD), &parameters[..2])
        .map_err(refused)?;
    rows.iter()
        .map(|row| {
            Ok(RenewedSlot {
                processor: get(row, 0)?,
                version: get(row, 1)?,
                worker: get(row, 2)?,
                slot: get(row, 3)?,
                epoch: get(row, 4)?,
                wanted: get(row, 5)?,
            })
        })
        .collect()
}

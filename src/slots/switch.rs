//! The switch of a rebuild. It holds all slots of a processor while the read model is replaced, and sets the position at
//! which they resume.

use super::key::ProcessorKey;
use crate::database::position::{get_u64, to_sql};
use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::{HandledEvents, Partition, PartitionSql};
use postgres::types::Type;
use serde_json::json;

const HOLD: PartitionSql = PartitionSql::new("SELECT {schema}.emt_slot_hold($1, $2, $3)");

/// Releases all versions, because the rebuild holds all of them.
const RELEASE: PartitionSql = PartitionSql::new(
    "SELECT {schema}.emt_slot_release($1, $2, NULL::INTEGER, $3, NULL::INTEGER, FALSE)",
);

/// After this lock, no slots are added.
const LOCK_PROCESSOR: PartitionSql = PartitionSql::new(
    "SELECT pg_catalog.pg_advisory_xact_lock({schema}.emt_processor_lock_key($1, $2))",
);

const LOCK_SLOTS: PartitionSql = PartitionSql::new(
    "
    SELECT position, owner IS NOT DISTINCT FROM $3 AS is_ours
      FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2
     ORDER BY version, slot
       FOR UPDATE",
);

const SLOTS: PartitionSql = PartitionSql::new(
    "SELECT FROM {schema}.emt_processor_slots WHERE partition = $1 AND processor = $2",
);

/// Sets the start position of a processor that has no slots yet.
const BEGIN_AT: PartitionSql = PartitionSql::new(
    "
    INSERT INTO {schema}.emt_processor_beginnings (partition, processor, version, position)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (partition, processor, version) DO UPDATE
        SET position = EXCLUDED.position, updated_at = now()",
);

const RESET: PartitionSql = PartitionSql::new("SELECT {schema}.emt_slot_reset($1, $2, $3, $4)");

/// The rebuild has skipped none of the events that it handles, whatever code ran before.
const NOTE_HANDLED: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_processor_slots SET handled = $4, passed_over = '[]'
     WHERE partition = $1 AND processor = $2 AND version = $3",
);

/// Other versions must no longer write to the read model.
const FAIL_OTHER_VERSIONS: PartitionSql = PartitionSql::new("
    UPDATE {schema}.emt_processor_slots
       SET status = 'failed', last_error = pg_catalog.format('version %s is the active one', $3), updated_at = now()
     WHERE partition = $1 AND processor = $2 AND version <> $3");

/// The rebuild has handled these messages.
const FORGET_PARKED: PartitionSql = PartitionSql::new(
    "DELETE FROM {schema}.emt_parked_messages WHERE partition = $1 AND processor = $2",
);

/// The processor that maintains a projection, under any name.
const PROCESSOR: PartitionSql = PartitionSql::new(
    "SELECT processor FROM {schema}.emt_processor_slots WHERE partition = $1 AND projection = $2 LIMIT 1",
);

/// Returns the name of the processor that maintains a projection; `None` if none has run. Its name may differ from the
/// projection's, and only the table records it.
pub(crate) fn processor_of(
    sql: &mut dyn Sql,
    partition: &Partition,
    projection: &str,
) -> Result<Option<String>> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&projection, Type::TEXT),
    ];
    let rows = sql
        .query(&partition.sql(PROCESSOR), &parameters)
        .map_err(|source| Error::database("find the processor of a projection", source))?;
    Ok(rows.first().map(|row| get(row, "processor")).transpose()?)
}

/// A version of a projection, and the processor that maintains it.
pub(crate) struct KeptProjection<'a> {
    partition: &'a Partition,
    projection: &'a str,
    version: i32,
    processor: Option<String>,
}

impl<'a> KeptProjection<'a> {
    pub(crate) fn find(
        sql: &mut dyn Sql,
        partition: &'a Partition,
        projection: &'a str,
        version: i32,
    ) -> Result<Self> {
        Ok(Self {
            partition,
            projection,
            version,
            processor: processor_of(sql, partition, projection)?,
        })
    }

    /// Returns the name of its processor; the projection's name if none has run.
    pub(crate) fn processor_name(&self) -> &str {
        self.processor.as_deref().unwrap_or(self.projection)
    }

    /// A projection without a processor has its start position under the projection's name.
    fn key(&self) -> ProcessorKey<'_> {
        ProcessorKey {
            partition: self.partition,
            name: self.processor_name(),
            version: self.version,
        }
    }

    /// Takes all slots from the workers of all versions. Their open batches can no longer be committed.
    pub(crate) fn hold(&self, sql: &mut dyn Sql, owner: &str) -> Result<()> {
        self.run_with_owner(sql, HOLD, owner)
    }

    /// Releases the slots taken by [`hold`](KeptProjection::hold), after a failed switch.
    pub(crate) fn release_hold(&self, sql: &mut dyn Sql, owner: &str) -> Result<()> {
        self.run_with_owner(sql, RELEASE, owner)
    }

    fn run_with_owner(
        &self,
        sql: &mut dyn Sql,
        statement: PartitionSql,
        owner: &str,
    ) -> Result<()> {
        let Some(processor) = &self.processor else {
            return Ok(());
        };
        let parameters = [
            param(&self.partition.name, Type::TEXT),
            param(processor, Type::TEXT),
            param(&owner, Type::TEXT),
        ];
        sql.query(&self.partition.sql(statement), &parameters)
            .map_err(not_stopped)?;
        Ok(())
    }

    /// Locks the slots and returns the highest position. Returns `None` if a worker has taken a slot meanwhile or a
    /// processor has run for the first time.
    pub(crate) fn lock_hold(&self, sql: &mut dyn Sql, owner: &str) -> Result<Option<u64>> {
        let lock = [
            param(&self.partition.name, Type::TEXT),
            param(&self.projection, Type::TEXT),
        ];
        sql.query(&self.partition.sql(LOCK_PROCESSOR), &lock)
            .map_err(not_stopped)?;
        if processor_of(sql, self.partition, self.projection)? != self.processor {
            return Ok(None);
        }
        let Some(processor) = &self.processor else {
            return self.refuse_reactor(sql).map(|()| Some(0));
        };
        let parameters = [
            param(&self.partition.name, Type::TEXT),
            param(processor, Type::TEXT),
            param(&owner, Type::TEXT),
        ];
        let rows = sql
            .query(&self.partition.sql(LOCK_SLOTS), &parameters)
            .map_err(not_stopped)?;
        let mut highest = 0;
        for row in &rows {
            if !get::<bool>(row, "is_ours")? {
                return Ok(None);
            }
            highest = highest.max(get_u64(row, "position")?);
        }
        Ok(Some(highest))
    }

    /// Fails if a reactor has the projection's name: the projection's first processor would start under that name.
    fn refuse_reactor(&self, sql: &mut dyn Sql) -> Result<()> {
        let parameters = [
            param(&self.partition.name, Type::TEXT),
            param(&self.projection, Type::TEXT),
        ];
        let slots = sql
            .query(&self.partition.sql(SLOTS), &parameters)
            .map_err(not_stopped)?;
        if slots.is_empty() {
            return Ok(());
        }
        Err(Error::invalid(
            format!("projection \"{}\"", self.projection),
            "a reactor has the same name: start the projection's projector before rebuilding it",
        ))
    }

    /// Makes the workers of this version resume after a position, and stops the workers of other versions. The slots are
    /// released. `handled` are the events that the rebuild has handled.
    pub(crate) fn resume_after(
        &self,
        sql: &mut dyn Sql,
        owner: &str,
        position: u64,
        handled: &HandledEvents,
    ) -> Result<()> {
        let position = to_sql(position);
        let key = self.key();
        let parameters = key.parameters([param(&position, Type::INT8)]);
        let refused = |source| Error::database("set the position of a projection", source);
        sql.execute(&self.partition.sql(BEGIN_AT), &parameters)
            .map_err(refused)?;
        if self.processor.is_none() {
            return Ok(());
        }
        sql.query(&self.partition.sql(RESET), &parameters)
            .map_err(refused)?;
        let handled = json!(handled.sorted());
        let noted = key.parameters([param(&handled, Type::JSONB)]);
        sql.execute(&self.partition.sql(NOTE_HANDLED), &noted)
            .map_err(refused)?;
        sql.execute(&self.partition.sql(FAIL_OTHER_VERSIONS), &parameters[..3])
            .map_err(refused)?;
        sql.execute(&self.partition.sql(FORGET_PARKED), &parameters[..2])
            .map_err(refused)?;
        self.release_hold(sql, owner)
    }
}

fn not_stopped(source: postgres::Error) -> Error {
    Error::database("stop the workers of a projection", source)
}

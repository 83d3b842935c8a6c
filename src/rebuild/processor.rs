//! The processor of an asynchronous projection that is rebuilt: it is stopped for the switch, and goes on behind it.

use crate::database::position::{from_sql, to_sql};
use crate::database::{Connections, Sql, get, param};
use crate::error::{Error, Result};
use crate::events::partition::Partition;
use postgres::types::Type;

/// Takes all slots, whoever has them: a batch that is under way cannot be committed any more, and none begins. A switch that
/// dies leaves them free after a while. `taken_position`: the position was not the one to blame.
const HOLD: &str = "
    UPDATE {schema}.emt_processor_slots
       SET owner = $3, worker = 0, epoch = epoch + 1, taken_at = clock_timestamp(),
           expires_at = clock_timestamp() + INTERVAL '5 minutes', taken_position = NULL, wanted_by = NULL, wanted_until = NULL
     WHERE partition = $1 AND processor = $2";

const RELEASE: &str = "
    UPDATE {schema}.emt_processor_slots
       SET owner = NULL, worker = NULL, expires_at = NULL
     WHERE partition = $1 AND processor = $2 AND owner = $3";

/// From here on, no slots are added.
const LOCK_PROCESSOR: &str =
    "SELECT pg_advisory_xact_lock({schema}.emt_processor_lock_key($1, $2))";

const LOCK_SLOTS: &str = "
    SELECT position, owner IS NOT DISTINCT FROM $3
      FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2
     ORDER BY version, slot
       FOR UPDATE";

/// Where a processor begins that has no slots yet.
const BEGIN_AT: &str = "
    INSERT INTO {schema}.emt_subscriptions (subscription_id, version, partition, last_processed_position)
    VALUES ($2, $3, $1, $4)
    ON CONFLICT (subscription_id, partition, version) DO UPDATE
        SET last_processed_position = EXCLUDED.last_processed_position, last_updated = now()";

/// Older and newer versions must not write into the read model any more.
const GO_ON: &str = "
    UPDATE {schema}.emt_processor_slots
       SET position = CASE WHEN version = $3 THEN $4 ELSE position END,
           status = CASE WHEN version = $3 THEN 'active' ELSE 'failed' END,
           last_error = CASE WHEN version <> $3 THEN format('version %s is the active one', $3) END,
           epoch = epoch + 1, owner = NULL, worker = NULL, expires_at = NULL, taken_position = NULL, crashes = 0,
           attempted = NULL, attempts = 0, updated_at = now()
     WHERE partition = $1 AND processor = $2";

/// The rebuild has handled them.
const FORGET_PARKED: &str =
    "DELETE FROM {schema}.emt_parked_messages WHERE partition = $1 AND processor = $2";

const DOING: &str = "stop the workers of a projection";

pub(super) struct Processor<'a> {
    pub(super) partition: &'a Partition,
    pub(super) name: &'a str,
    pub(super) version: i32,
    /// What stands for the rebuild.
    pub(super) owner: String,
}

impl Processor<'_> {
    /// Stops the workers, until the switch is done or [released](Processor::release).
    pub(super) fn hold(&self, connections: &Connections) -> Result<()> {
        self.with_owner(connections, HOLD)
    }

    pub(super) fn release(&self, connections: &Connections) -> Result<()> {
        self.with_owner(connections, RELEASE)
    }

    fn with_owner(&self, connections: &Connections, statement: &'static str) -> Result<()> {
        let parameters = [
            param(&self.partition.name, Type::TEXT),
            param(&self.name, Type::TEXT),
            param(&self.owner, Type::TEXT),
        ];
        connections.run(true, |sql| {
            sql.execute(&self.partition.sql(statement), &parameters)
                .map_err(|source| Error::database(DOING, source))
        })?;
        Ok(())
    }

    /// Locks the slots and returns the highest position; `None` where somebody has taken one meanwhile.
    pub(super) fn lock(&self, sql: &mut dyn Sql) -> Result<Option<u64>> {
        let names = [
            param(&self.partition.name, Type::TEXT),
            param(&self.name, Type::TEXT),
        ];
        sql.query(&self.partition.sql(LOCK_PROCESSOR), &names)
            .map_err(|source| Error::database(DOING, source))?;
        let [partition, name] = names;
        let parameters = [partition, name, param(&self.owner, Type::TEXT)];
        let rows = sql
            .query(&self.partition.sql(LOCK_SLOTS), &parameters)
            .map_err(|source| Error::database(DOING, source))?;
        let mut highest = 0;
        for row in &rows {
            if !get::<bool>(row, 1)? {
                return Ok(None);
            }
            highest = highest.max(from_sql(get(row, 0)?));
        }
        Ok(Some(highest))
    }

    /// Has the workers of this version go on behind a position.
    pub(super) fn go_on_behind(&self, sql: &mut dyn Sql, position: u64) -> Result<()> {
        let position = to_sql(position);
        let parameters = [
            param(&self.partition.name, Type::TEXT),
            param(&self.name, Type::TEXT),
            param(&self.version, Type::INT4),
            param(&position, Type::INT8),
        ];
        let refused = |source| Error::database("set the position of a projection", source);
        sql.execute(&self.partition.sql(BEGIN_AT), &parameters)
            .map_err(refused)?;
        sql.execute(&self.partition.sql(GO_ON), &parameters)
            .map_err(refused)?;
        sql.execute(&self.partition.sql(FORGET_PARKED), &parameters[..2])
            .map_err(refused)?;
        Ok(())
    }
}

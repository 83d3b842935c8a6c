//! The renewal of leases: one statement for all living workers of a process, and one that tells what they hold.

use crate::database::{SchemaSql, Sql, get, param};
use crate::error::{Error, Result};
use postgres::Row;
use postgres::types::Type;
use std::time::Duration;

/// Rows that a worker of this process is committing are passed over: its checkpoint renews the lease, too.
const RENEW: SchemaSql = SchemaSql::new("
    UPDATE {schema}.emt_processor_slots AS slot
       SET expires_at = clock_timestamp() + pg_catalog.make_interval(secs => held.lease),
           busy_since = clock_timestamp() - pg_catalog.make_interval(secs => held.busy_for)
      FROM (SELECT held.partition, held.processor, held.version, held.slot, living.lease, living.busy_for
              FROM unnest($1, $2, $3, $4, $5, $6, $7)
                   AS living (partition, processor, version, owner, worker, lease, busy_for)
              JOIN {schema}.emt_processor_slots AS held USING (partition, processor, version, owner, worker)
               FOR UPDATE OF held SKIP LOCKED) AS held
     WHERE slot.partition = held.partition AND slot.processor = held.processor AND slot.version = held.version
       AND slot.slot = held.slot");

/// Of each living worker, in their order: the slots that it holds, locked or not, and what it has to know.
const HELD: SchemaSql = SchemaSql::new("
    SELECT coalesce(slot.held, '{}') AS held, coalesce(slot.epochs, '{}') AS epochs, slot.is_wanted OR slot.is_open AS may_change,
           EXISTS (SELECT FROM {schema}.emt_parked_messages AS parked
                    WHERE parked.partition = living.partition AND parked.processor = living.processor
                      AND parked.version = living.version AND parked.request IS NOT NULL) AS is_requested,
           {schema}.emt_rebuild_requested(living.partition) AS is_rebuild_requested
      FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY
           AS living (partition, processor, version, owner, worker, number)
     CROSS JOIN LATERAL (
           SELECT pg_catalog.array_agg(slot ORDER BY slot) FILTER (WHERE is_held) AS held,
                  pg_catalog.array_agg(epoch ORDER BY slot) FILTER (WHERE is_held) AS epochs,
                  coalesce(pg_catalog.bool_or(wanted_until > clock_timestamp()) FILTER (WHERE is_held), FALSE) AS is_wanted,
                  coalesce(pg_catalog.bool_or(owner IS NULL OR expires_at <= clock_timestamp() OR status = 'failed'), FALSE) AS is_open
             FROM (SELECT slot.*, slot.owner = living.owner AND slot.worker = living.worker AS is_held
                     FROM {schema}.emt_processor_slots AS slot
                    WHERE slot.partition = living.partition AND slot.processor = living.processor
                      AND slot.version = living.version) AS slot
           ) AS slot
     ORDER BY living.number");

/// An error after which a worker went on, before it is noted.
#[derive(Debug, Clone)]
pub(crate) struct Survived {
    pub(crate) error: String,
    pub(crate) ago: Duration,
    /// How many came in a row, without progress between them.
    pub(crate) times: u32,
}

/// A worker whose thread runs, in whatever partition.
pub(crate) struct LivingWorker {
    pub(crate) partition: String,
    pub(crate) processor: String,
    pub(crate) version: i32,
    pub(crate) owner: String,
    pub(crate) worker: i32,
    pub(crate) lease: Duration,
    /// For how long its handler has been running; `None` while it does not.
    pub(crate) busy_for: Option<Duration>,
    /// What it has survived since the last renewal.
    pub(crate) survived: Option<Survived>,
}

/// What the table says of a living worker.
pub(crate) struct RenewedWorker {
    /// The slots that it holds, with their epochs.
    pub(crate) held: Vec<(i32, i64)>,
    /// Another worker wants one of them; or a slot of its processor is free, its lease has run out, or it has failed.
    pub(crate) may_change: bool,
    /// Somebody has asked for a replay or a discard of what its processor has parked.
    pub(crate) is_requested: bool,
    /// Somebody has asked for a rebuild in its partition.
    pub(crate) is_rebuild_requested: bool,
}

/// Renews the leases of these workers, and no others: a worker that has ended keeps nothing.
pub(crate) fn renew(
    sql: &mut dyn Sql,
    schema: &str,
    workers: &[LivingWorker],
) -> Result<Vec<RenewedWorker>> {
    let column = |of: fn(&LivingWorker) -> &str| workers.iter().map(of).collect::<Vec<&str>>();
    let partitions = column(|worker| &worker.partition);
    let processors = column(|worker| &worker.processor);
    let owners = column(|worker| &worker.owner);
    let versions: Vec<i32> = workers.iter().map(|worker| worker.version).collect();
    let numbers: Vec<i32> = workers.iter().map(|worker| worker.worker).collect();
    let leases = workers.iter().map(|worker| worker.lease.as_secs_f64());
    let leases: Vec<f64> = leases.collect();
    let busy_for = |worker: &LivingWorker| worker.busy_for.map(|time| time.as_secs_f64());
    let busy_for: Vec<Option<f64>> = workers.iter().map(busy_for).collect();
    let parameters = [
        param(&partitions, Type::TEXT_ARRAY),
        param(&processors, Type::TEXT_ARRAY),
        param(&versions, Type::INT4_ARRAY),
        param(&owners, Type::TEXT_ARRAY),
        param(&numbers, Type::INT4_ARRAY),
        param(&leases, Type::FLOAT8_ARRAY),
        param(&busy_for, Type::FLOAT8_ARRAY),
    ];
    let refused = |source| Error::database("renew leases", source);
    sql.execute(&RENEW.in_schema(schema), &parameters)
        .map_err(refused)?;
    let rows = sql
        .query(&HELD.in_schema(schema), &parameters[..5])
        .map_err(refused)?;
    rows.iter().map(renewed).collect()
}

fn renewed(row: &Row) -> Result<RenewedWorker> {
    let slots: Vec<i32> = get(row, "held")?;
    let epochs: Vec<i64> = get(row, "epochs")?;
    Ok(RenewedWorker {
        held: slots.into_iter().zip(epochs).collect(),
        may_change: get(row, "may_change")?,
        is_requested: get(row, "is_requested")?,
        is_rebuild_requested: get(row, "is_rebuild_requested")?,
    })
}

//! Renewal of leases: one statement for all living workers of a process, and another for the slots that they hold.

use crate::database::{SchemaSql, Sql, get, param};
use crate::error::{Error, Result};
use postgres::Row;
use postgres::types::Type;
use std::time::Duration;

/// Skips rows that a worker of this process is committing: its checkpoint also renews the lease.
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

/// For each living worker, in order: its slots, locked or not, and the news for it.
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

/// An error that a worker survived and that is not yet recorded.
#[derive(Debug, Clone)]
pub(crate) struct Survived {
    pub(crate) error: String,
    pub(crate) ago: Duration,
    /// Number of errors in a row, without progress in between.
    pub(crate) times: u32,
}

/// A worker whose thread runs, in any partition.
pub(crate) struct LivingWorker {
    pub(crate) partition: String,
    pub(crate) processor: String,
    pub(crate) version: i32,
    pub(crate) owner: String,
    pub(crate) worker: i32,
    pub(crate) lease: Duration,
    /// How long its handler has been running; `None` if it is not running.
    pub(crate) busy_for: Option<Duration>,
    /// The error that it survived since the last renewal.
    pub(crate) survived: Option<Survived>,
}

/// State of a living worker in the table.
pub(crate) struct RenewedWorker {
    /// Slots that it holds, with their epochs.
    pub(crate) held: Vec<(i32, i64)>,
    /// Whether the slots may be redistributed: another worker wants one, one is free or expired, or the processor has
    /// failed.
    pub(crate) may_change: bool,
    /// Whether a replay or a discard of its processor's parked messages was requested.
    pub(crate) is_requested: bool,
    /// Whether a rebuild was requested in its partition.
    pub(crate) is_rebuild_requested: bool,
}

/// Renews the leases of these workers only: the leases of a worker that has ended expire.
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

//! Timers. Owns the statements on `emt_timers`.

use crate::database::position::{small_to_sql, to_sql};
use crate::database::{Jsonb, Sql, get, param, scalar};
use crate::error::{Error, Result};
use crate::events::{Partition, PartitionSql};
use postgres::types::Type;
use std::time::{Duration, SystemTime};

const CHANGE: PartitionSql = PartitionSql::new(
    "SELECT {schema}.emt_timer_change($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
);

const TAKE: PartitionSql = PartitionSql::new(
    "
    SELECT id, name, input_type, schema_version, input, metadata FROM {schema}.emt_timer_take($1, $2, $3)",
);

const NEXT: PartitionSql = PartitionSql::new("SELECT {schema}.emt_timer_next($1, $2)");

const CANCEL: PartitionSql = PartitionSql::new(
    "
    DELETE FROM {schema}.emt_timers WHERE partition = $1 AND workflow = $2 AND id = $3 AND name = $4",
);

/// Longest delay of a timer: a thousand years. PostgreSQL's times end later.
const LONGEST_DELAY: Duration = Duration::from_secs(1_000 * 365 * 86_400);

/// The time of a timer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Due {
    /// Seconds after the statement that sets it.
    After(f64),
    /// Microseconds since 1970.
    At(i64),
}

impl Due {
    pub(crate) fn after(timer: &str, delay: Duration) -> Result<Self> {
        if delay > LONGEST_DELAY {
            return Err(too_far(timer, format!("after {delay:?}")));
        }
        Ok(Self::After(delay.as_secs_f64()))
    }

    /// A time before 1970 has passed, as has 1970.
    pub(crate) fn at(timer: &str, time: SystemTime) -> Result<Self> {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        if since > LONGEST_DELAY {
            return Err(too_far(timer, format!("{since:?} after 1970")));
        }
        Ok(Self::At(to_sql(since.as_micros())))
    }
}

fn too_far(timer: &str, due: String) -> Error {
    Error::invalid(
        format!("timer \"{timer}\""),
        format!("is due {due}: set it for at most 1,000 years"),
    )
}

/// A timer to set.
#[derive(Debug)]
pub(crate) struct NewTimer {
    pub(crate) due: Due,
    pub(crate) input_type: String,
    pub(crate) schema_version: u32,
    pub(crate) input: Vec<u8>,
    pub(crate) metadata: Vec<u8>,
}

/// Changes of timers, by instance and name.
#[derive(Debug, Default)]
pub(crate) struct TimerChanges {
    pub(crate) cancelled: Vec<(String, Option<String>)>,
    pub(crate) set: Vec<(String, String, NewTimer)>,
}

/// A timer that has fired.
#[derive(Debug)]
pub(crate) struct FiredTimer {
    pub(crate) id: String,
    pub(crate) input_type: String,
    pub(crate) schema_version: u32,
    pub(crate) input: Vec<u8>,
    pub(crate) metadata: Vec<u8>,
}

/// Cancels and sets timers, in one round trip.
pub(crate) fn change(
    sql: &mut dyn Sql,
    partition: &Partition,
    workflow: &str,
    changes: &TimerChanges,
) -> Result<()> {
    if changes.cancelled.is_empty() && changes.set.is_empty() {
        return Ok(());
    }
    let (cancelled_ids, cancelled_names): (Vec<&str>, Vec<Option<&str>>) = changes
        .cancelled
        .iter()
        .map(|(id, name)| (id.as_str(), name.as_deref()))
        .unzip();
    let set = &changes.set;
    let ids: Vec<&str> = set.iter().map(|(id, ..)| id.as_str()).collect();
    let names: Vec<&str> = set.iter().map(|(_, name, _)| name.as_str()).collect();
    let timers: Vec<&NewTimer> = set.iter().map(|(.., timer)| timer).collect();
    let (delays, times): (Vec<Option<f64>>, Vec<Option<i64>>) = timers
        .iter()
        .map(|timer| match timer.due {
            Due::After(seconds) => (Some(seconds), None),
            Due::At(time) => (None, Some(time)),
        })
        .unzip();
    let types: Vec<&str> = timers.iter().map(|timer| &*timer.input_type).collect();
    let versions = timers
        .iter()
        .map(|timer| small_to_sql("the schema version", timer.schema_version))
        .collect::<Result<Vec<i32>, _>>()?;
    let inputs: Vec<Jsonb<'_>> = timers.iter().map(|timer| Jsonb(&timer.input)).collect();
    let metadata: Vec<Jsonb<'_>> = timers.iter().map(|timer| Jsonb(&timer.metadata)).collect();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&workflow, Type::TEXT),
        param(&cancelled_ids, Type::TEXT_ARRAY),
        param(&cancelled_names, Type::TEXT_ARRAY),
        param(&ids, Type::TEXT_ARRAY),
        param(&names, Type::TEXT_ARRAY),
        param(&delays, Type::FLOAT8_ARRAY),
        param(&times, Type::INT8_ARRAY),
        param(&types, Type::TEXT_ARRAY),
        param(&versions, Type::INT4_ARRAY),
        param(&inputs, Type::JSONB_ARRAY),
        param(&metadata, Type::JSONB_ARRAY),
    ];
    sql.query(&partition.sql(CHANGE), &parameters)
        .map_err(|source| Error::in_partition("set a timer", &partition.name, source))?;
    Ok(())
}

/// Deletes timers that are due, and returns them.
pub(crate) fn take(
    sql: &mut dyn Sql,
    partition: &Partition,
    workflow: &str,
    limit: i64,
) -> Result<Vec<FiredTimer>> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&workflow, Type::TEXT),
        param(&limit, Type::INT8),
    ];
    let rows = sql
        .query(&partition.sql(TAKE), &parameters)
        .map_err(|source| Error::in_partition("fire timers", &partition.name, source))?;
    rows.iter().map(fired).collect()
}

fn fired(row: &postgres::Row) -> Result<FiredTimer> {
    let (input, metadata): (Jsonb<'_>, Jsonb<'_>) = (get(row, "input")?, get(row, "metadata")?);
    Ok(FiredTimer {
        id: get(row, "id")?,
        input_type: get(row, "input_type")?,
        schema_version: crate::database::position::get_u32(row, "schema_version")?,
        input: input.0.to_vec(),
        metadata: metadata.0.to_vec(),
    })
}

/// Returns the time until the next timer of a workflow is due, by the server's clock; `None` without timers.
pub(crate) fn next(
    sql: &mut dyn Sql,
    partition: &Partition,
    workflow: &str,
) -> Result<Option<Duration>> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&workflow, Type::TEXT),
    ];
    let rows = sql
        .query(&partition.sql(NEXT), &parameters)
        .map_err(|source| Error::in_partition("find the next timer", &partition.name, source))?;
    let microseconds: Option<Option<i64>> = scalar(&rows)?;
    Ok(microseconds
        .flatten()
        .map(crate::database::position::elapsed_from_sql))
}

/// Cancels a timer. Returns false if there is none.
pub(crate) fn cancel(
    sql: &mut dyn Sql,
    partition: &Partition,
    workflow: &str,
    id: &str,
    name: &str,
) -> Result<bool> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&workflow, Type::TEXT),
        param(&id, Type::TEXT),
        param(&name, Type::TEXT),
    ];
    let deleted = sql
        .execute(&partition.sql(CANCEL), &parameters)
        .map_err(|source| Error::in_partition("cancel a timer", &partition.name, source))?;
    Ok(deleted > 0)
}

//! Timers. Owns the statements on `emt_timers`.

use super::timer::{Timer, TimerOptions};
use crate::database::position::{elapsed_from_sql, get_u32, get_u64, small_to_sql, to_sql};
use crate::database::{Jsonb, Parameter, Sql, get, param, scalar};
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

const POSTPONE: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_timers
       SET due_at = pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => $5)
     WHERE partition = $1 AND workflow = $2 AND id = $3 AND name = $4 AND due_at <= pg_catalog.clock_timestamp()",
);

const CANCEL: PartitionSql = PartitionSql::new(
    "
    DELETE FROM {schema}.emt_timers WHERE partition = $1 AND workflow = $2 AND id = $3 AND name = $4",
);

const LIST: PartitionSql = PartitionSql::new(
    "
    SELECT workflow, id, name, input_type, due_at, set_at,
           (extract(EPOCH FROM due_at OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp())
            OPERATOR(pg_catalog.*) 1000000)::BIGINT AS due_in
      FROM {schema}.emt_timers
     WHERE partition = $1 AND ($2 IS NULL OR workflow = $2) AND ($3 IS NULL OR id = $3)
     ORDER BY due_at, workflow, id, name
     LIMIT $4",
);

const OVERDUE: PartitionSql = PartitionSql::new(
    "
    SELECT workflow, pg_catalog.count(*) AS timers,
           (extract(EPOCH FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.min(due_at))
            OPERATOR(pg_catalog.*) 1000000)::BIGINT AS late_by
      FROM {schema}.emt_timers
     WHERE partition = $1
       AND due_at < pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => $2)
     GROUP BY workflow
     ORDER BY workflow COLLATE \"C\"",
);

const COUNT_OF: PartitionSql = PartitionSql::new(
    "
    SELECT timer.workflow, timer.id, pg_catalog.count(*) AS timers
      FROM unnest($2::TEXT[], $3::TEXT[]) AS instance (workflow, id)
      JOIN {schema}.emt_timers AS timer
        ON timer.partition = $1 AND timer.workflow = instance.workflow AND timer.id = instance.id
     GROUP BY timer.workflow, timer.id",
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
    pub(crate) name: String,
    pub(crate) input_type: String,
    pub(crate) schema_version: u32,
    pub(crate) input: Vec<u8>,
    pub(crate) metadata: Vec<u8>,
}

/// The columns of new timers, as arrays.
struct NewTimers<'a> {
    ids: Vec<&'a str>,
    names: Vec<&'a str>,
    seconds: Vec<Option<f64>>,
    times: Vec<Option<i64>>,
    types: Vec<&'a str>,
    schema_versions: Vec<i32>,
    inputs: Vec<Jsonb<'a>>,
    metadata: Vec<Jsonb<'a>>,
}

impl<'a> NewTimers<'a> {
    fn new(set: &'a [(String, String, NewTimer)]) -> Result<Self> {
        let all = || set.iter().map(|(.., timer)| timer);
        let version = |timer: &NewTimer| small_to_sql("the schema version", timer.schema_version);
        let (seconds, times) = all()
            .map(|timer| match timer.due {
                Due::After(seconds) => (Some(seconds), None),
                Due::At(time) => (None, Some(time)),
            })
            .unzip();
        Ok(Self {
            ids: set.iter().map(|(id, ..)| id.as_str()).collect(),
            names: set.iter().map(|(_, name, _)| name.as_str()).collect(),
            seconds,
            times,
            types: all().map(|timer| &*timer.input_type).collect(),
            schema_versions: all().map(version).collect::<Result<_, _>>()?,
            inputs: all().map(|timer| Jsonb(&timer.input)).collect(),
            metadata: all().map(|timer| Jsonb(&timer.metadata)).collect(),
        })
    }

    fn parameters(&self) -> [Parameter<'_>; 8] {
        [
            param(&self.ids, Type::TEXT_ARRAY),
            param(&self.names, Type::TEXT_ARRAY),
            param(&self.seconds, Type::FLOAT8_ARRAY),
            param(&self.times, Type::INT8_ARRAY),
            param(&self.types, Type::TEXT_ARRAY),
            param(&self.schema_versions, Type::INT4_ARRAY),
            param(&self.inputs, Type::JSONB_ARRAY),
            param(&self.metadata, Type::JSONB_ARRAY),
        ]
    }
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
    let set = NewTimers::new(&changes.set)?;
    let mut parameters = vec![
        param(&partition.name, Type::TEXT),
        param(&workflow, Type::TEXT),
        param(&cancelled_ids, Type::TEXT_ARRAY),
        param(&cancelled_names, Type::TEXT_ARRAY),
    ];
    parameters.extend(set.parameters());
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
        name: get(row, "name")?,
        input_type: get(row, "input_type")?,
        schema_version: get_u32(row, "schema_version")?,
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
    Ok(microseconds.flatten().map(elapsed_from_sql))
}

/// Makes a timer that is due, and whose input cannot be appended, due later.
pub(crate) fn postpone(
    sql: &mut dyn Sql,
    partition: &Partition,
    workflow: &str,
    id: &str,
    name: &str,
    pause: Duration,
) -> Result<()> {
    let pause = pause.as_secs_f64();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&workflow, Type::TEXT),
        param(&id, Type::TEXT),
        param(&name, Type::TEXT),
        param(&pause, Type::FLOAT8),
    ];
    sql.execute(&partition.sql(POSTPONE), &parameters)
        .map_err(|source| Error::in_partition("postpone a timer", &partition.name, source))?;
    Ok(())
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

/// Returns timers that have not fired, the next one first.
pub(super) fn list(
    sql: &mut dyn Sql,
    partition: &Partition,
    options: &TimerOptions,
) -> Result<Vec<Timer>> {
    let limit = to_sql(options.limit);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&options.workflow, Type::TEXT),
        param(&options.id, Type::TEXT),
        param(&limit, Type::INT8),
    ];
    let rows = sql
        .query(&partition.sql(LIST), &parameters)
        .map_err(|source| Error::in_partition("list timers", &partition.name, source))?;
    rows.iter()
        .map(|row| {
            Ok(Timer {
                workflow: get(row, "workflow")?,
                id: get(row, "id")?,
                name: get(row, "name")?,
                input_type: get(row, "input_type")?,
                due_at: get(row, "due_at")?,
                due_in: elapsed_from_sql(get(row, "due_in")?),
                set_at: get(row, "set_at")?,
            })
        })
        .collect()
}

/// Timers of a workflow that should have fired.
#[derive(Debug)]
pub(crate) struct OverdueTimers {
    pub(crate) workflow: String,
    pub(crate) timers: u64,
    /// Time since the first of them was due, by the server's clock.
    pub(crate) late_by: Duration,
}

/// Returns the workflows with timers that were due more than some time ago.
pub(crate) fn overdue(
    sql: &mut dyn Sql,
    partition: &Partition,
    late_by: Duration,
) -> Result<Vec<OverdueTimers>> {
    let late_by = late_by.as_secs_f64();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&late_by, Type::FLOAT8),
    ];
    let rows = sql
        .query(&partition.sql(OVERDUE), &parameters)
        .map_err(|source| Error::in_partition("find overdue timers", &partition.name, source))?;
    rows.iter()
        .map(|row| {
            Ok(OverdueTimers {
                workflow: get(row, "workflow")?,
                timers: get_u64(row, "timers")?,
                late_by: elapsed_from_sql(get(row, "late_by")?),
            })
        })
        .collect()
}

/// Returns the number of timers of each instance that has some.
pub(super) fn count_of(
    sql: &mut dyn Sql,
    partition: &Partition,
    instances: Vec<(&str, &str)>,
) -> Result<Vec<((String, String), u64)>> {
    let (workflows, ids): (Vec<&str>, Vec<&str>) = instances.into_iter().unzip();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&workflows, Type::TEXT_ARRAY),
        param(&ids, Type::TEXT_ARRAY),
    ];
    let rows = sql
        .query(&partition.sql(COUNT_OF), &parameters)
        .map_err(|source| Error::in_partition("count timers", &partition.name, source))?;
    rows.iter()
        .map(|row| {
            let key = (get(row, "workflow")?, get(row, "id")?);
            Ok((key, get_u64(row, "timers")?))
        })
        .collect()
}

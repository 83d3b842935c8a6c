//! The registry of a partition's projections, their versions and status. Owns the statements on `emt_projections`.

use super::Projection;
use crate::database::position::{from_sql, get_u32, get_u64, small_to_sql, to_sql};
use crate::database::{Sql, get, param, scalar};
use crate::error::{Error, Result};
use crate::events::{EventSelection, HandledEvents, Partition, PartitionSql};
use postgres::Row;
use postgres::types::Type;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::SystemTime;

const REGISTER: PartitionSql =
    PartitionSql::new("SELECT {schema}.emt_projection_register($1, $2, $3, $6, $4, $5)");

/// One statement, and so one snapshot: a projection is active if it is registered as active and has missed nothing.
const LIST: PartitionSql = PartitionSql::new(
    "
    SELECT projection.name, projection.version, projection.type, projection.kind, projection.status,
           rebuild.position AS rebuilding, missed.count, missed.lowest, missed.since, failed.position AS failed, failed.error,
           coalesce(projection.last_updated < now() - INTERVAL '1 minute'
                    AND missed.since < now() - INTERVAL '1 minute', FALSE) AS is_left
      FROM {schema}.emt_projections AS projection
      LEFT JOIN {schema}.emt_rebuilds AS rebuild
        ON rebuild.partition = projection.partition AND rebuild.name = projection.name
       AND rebuild.version = projection.version
       AND {schema}.emt_rebuild_is_running(rebuild.partition, rebuild.name)
     CROSS JOIN LATERAL (
           SELECT count(*) AS count, pg_catalog.min(missed.global_position) AS lowest, pg_catalog.min(missed.noted_at) AS since
             FROM {schema}.emt_missed AS missed
            WHERE missed.partition = projection.partition AND missed.name = projection.name
              AND missed.version = projection.version AND projection.status = 'active') AS missed
      LEFT JOIN LATERAL (
           SELECT missed.global_position AS position, missed.error
             FROM {schema}.emt_missed AS missed
            WHERE missed.partition = projection.partition AND missed.name = projection.name
              AND missed.version = projection.version AND projection.status = 'active'
            ORDER BY missed.global_position
            LIMIT 1) AS failed ON failed.error IS NOT NULL
     WHERE projection.partition = $1
     ORDER BY projection.name COLLATE \"C\", projection.version",
);

const SHARE: PartitionSql = PartitionSql::new("SELECT {schema}.emt_projection_share($1)");

const LOCK: PartitionSql = PartitionSql::new("SELECT {schema}.emt_projection_lock($1)");

const ACTIVATE: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_projections
       SET status = CASE WHEN version = $3 THEN 'active'
                         WHEN type::TEXT = 'i' AND version > $3 AND status IN ('building', 'arming') THEN status
                         ELSE 'inactive' END,
           last_updated = now()
     WHERE partition = $1 AND name = $2",
);

const HANDLED_EVENTS: PartitionSql = PartitionSql::new(
    "
    SELECT name, definition -> 'events'::TEXT AS events FROM {schema}.emt_projections
     WHERE partition = $1 AND status = 'active' AND pg_catalog.jsonb_typeof(definition -> 'events'::TEXT) = 'array'
     ORDER BY name COLLATE \"C\"",
);

/// The version whose read model is live, even if it has missed events.
const LIVE_VERSION: PartitionSql = PartitionSql::new(
    "
    SELECT version FROM {schema}.emt_projections
     WHERE partition = $1 AND name = $2 AND status IN ('active', 'async_processing', 'stale')
     ORDER BY version DESC
     LIMIT 1",
);

/// The position before the first event that the active version of an inline projection has missed.
const REACHED: PartitionSql = PartitionSql::new(
    "
    SELECT least($3, (SELECT pg_catalog.min(missed.global_position) - 1 FROM {schema}.emt_missed AS missed
                       WHERE missed.partition = projection.partition AND missed.name = projection.name
                         AND missed.version = projection.version)) AS reached
      FROM {schema}.emt_projections AS projection
     WHERE projection.partition = $1 AND projection.name = $2 AND projection.type::TEXT = 'i'
       AND projection.status = 'active'",
);

const STATUS: PartitionSql = PartitionSql::new(
    "SELECT status FROM {schema}.emt_projections WHERE partition = $1 AND name = $2 AND version = $3",
);

const SET_STATUS: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_projections SET status = $4, last_updated = now()
     WHERE partition = $1 AND name = $2 AND version = $3 AND type::TEXT = 'i' AND status = $5",
);

/// Records that a program with the code is alive, at most every 20 seconds.
const RENEW: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_projections SET last_updated = now()
     WHERE partition = $1 AND name = $2 AND version = $3 AND last_updated < now() - INTERVAL '20 seconds'",
);

const EXPIRE: PartitionSql =
    PartitionSql::new("SELECT {schema}.emt_projection_expire($1, $2, $3, $4, $5::TEXT::INTERVAL)");

const FORGET: PartitionSql = PartitionSql::new("SELECT {schema}.emt_projection_forget($1, $2)");

const IS_REGISTERED: PartitionSql = PartitionSql::new(
    "SELECT EXISTS (SELECT FROM {schema}.emt_projections WHERE partition = $1 AND name = $2)",
);

/// Whether a projection is inline or asynchronous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProjectionType {
    /// In the transaction of the append.
    Inline,
    /// Asynchronously, by a consumer.
    Asynchronous,
}

impl ProjectionType {
    fn letter(self) -> &'static str {
        match self {
            Self::Inline => "i",
            Self::Asynchronous => "a",
        }
    }

    fn from_sql(row: &Row) -> Result<Self> {
        match get(row, "type")? {
            "i" => Ok(Self::Inline),
            "a" => Ok(Self::Asynchronous),
            other => Err(unknown(row, "type", other, "\"i\" or \"a\"")?),
        }
    }
}

/// Status of a read model, for one version of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProjectionStatus {
    /// The read model is live. An inline one equals a fold over all stored events.
    Active,
    /// The live read model lacks events that programs without this version have appended. A program with the code is
    /// adding them. Each stream is correct up to one of its versions.
    Following,
    /// Like following, but no program with the code has been seen for a minute. Start one, or
    /// [forget](crate::EventStore::forget_projection) the projection.
    Orphaned,
    /// Registered, but not built from the stored events yet.
    Building,
    /// Another version is active, or none is.
    Inactive,
    /// Events are missing, and their list was discarded. The read model has to be rebuilt.
    Stale,
}

fn unknown(row: &Row, column: &str, value: &str, expected: &'static str) -> Result<Error> {
    let name: &str = get(row, "name")?;
    let what = format!("the {column} of projection \"{name}\"");
    Ok(Error::stored(what, format!("\"{value}\""), expected))
}

impl std::fmt::Display for ProjectionStatus {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Active => "active",
            Self::Following => "following",
            Self::Orphaned => "orphaned",
            Self::Building => "building",
            Self::Inactive => "inactive",
            Self::Stale => "stale",
        })
    }
}

impl ProjectionStatus {
    fn from_sql(row: &Row, has_missed: bool) -> Result<Self> {
        match (get(row, "status")?, has_missed, get(row, "is_left")?) {
            ("active", false, _) | ("async_processing", _, _) => Ok(Self::Active),
            ("active", true, false) => Ok(Self::Following),
            ("active", true, true) => Ok(Self::Orphaned),
            ("building" | "arming", _, _) => Ok(Self::Building),
            ("stale", _, _) => Ok(Self::Stale),
            ("inactive", _, _) => Ok(Self::Inactive),
            (other, _, _) => Err(unknown(
                row,
                "status",
                other,
                "\"active\", \"async_processing\", \"building\", \"arming\", \"inactive\" or \"stale\"",
            )?),
        }
    }
}

/// Events that an inline projection has not handled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissedEvents {
    /// Number of missed events.
    pub count: u64,
    /// Lowest global position among them. The read model contains all earlier events.
    pub first_position: u64,
    /// Time at which the first of them was noted.
    pub since: Option<SystemTime>,
}

/// The reason why an inline projection cannot catch up: handling a missed event fails. The event is retried, with
/// pauses of up to a minute. Later events wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProjectionFailure {
    /// Global position of the event.
    pub global_position: u64,
    /// Error of the projection, with the event's stream and type.
    pub error: String,
}

/// A registered version of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegisteredProjection {
    /// Name of the projection.
    pub name: String,
    /// Version of the projection's code.
    pub version: u32,
    /// Whether the projection is inline or asynchronous.
    pub projection_type: ProjectionType,
    /// Kind of the projection: how its read model is stored.
    pub kind: String,
    /// Status of its read model.
    pub status: ProjectionStatus,
    /// Missed events, if the projection is following or orphaned.
    pub missed: Option<MissedEvents>,
    /// Failure of the first missed event, if any.
    pub failure: Option<ProjectionFailure>,
    /// Global position that its rebuild has reached, if one is running or was interrupted.
    pub rebuilding: Option<u64>,
}

/// Returns the version of a projection's code as the registry stores it.
///
/// # Errors
/// [`Error::InvalidInput`] if the registry cannot store the version.
pub(crate) fn version(projection: &dyn Projection) -> Result<i32> {
    let what = format!("the version of projection \"{}\"", projection.name());
    Ok(small_to_sql(&what, projection.version())?)
}

/// Lists all versions of all projections of a partition.
pub(crate) fn list(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<RegisteredProjection>> {
    let rows = sql
        .query(&partition.sql(LIST), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| Error::in_partition("list projections", &partition.name, source))?;
    rows.iter().map(registered).collect()
}

fn registered(row: &Row) -> Result<RegisteredProjection> {
    let missed = match get::<Option<i64>>(row, "lowest")? {
        None => None,
        Some(lowest) => Some(MissedEvents {
            count: get_u64(row, "count")?,
            first_position: from_sql(lowest)?,
            since: get(row, "since")?,
        }),
    };
    Ok(RegisteredProjection {
        name: get(row, "name")?,
        version: get_u32(row, "version")?,
        projection_type: ProjectionType::from_sql(row)?,
        kind: get(row, "kind")?,
        status: ProjectionStatus::from_sql(row, missed.is_some())?,
        missed,
        failure: failure(row)?,
        rebuilding: get::<Option<i64>>(row, "rebuilding")?
            .map(from_sql)
            .transpose()?,
    })
}

fn failure(row: &Row) -> Result<Option<ProjectionFailure>> {
    let Some(position) = get::<Option<i64>>(row, "failed")? else {
        return Ok(None);
    };
    Ok(Some(ProjectionFailure {
        global_position: from_sql(position)?,
        error: get(row, "error")?,
    }))
}

/// Returns the handled events as the registry stores them: all types, all categories, and the events of each enum.
fn definition(handled: &HandledEvents) -> Value {
    let all = handled.filter();
    json!({
        "handles": all.types,
        "categories": all.categories,
        "events": handled.selections(),
    })
}

/// Registers a projection. An inline projection has to be built before it is active.
pub(crate) fn register(
    sql: &mut dyn Sql,
    partition: &Partition,
    projection: &dyn Projection,
    version: i32,
    projection_type: ProjectionType,
) -> Result<()> {
    let letter = projection_type.letter();
    let (name, kind) = (projection.name(), projection.kind());
    let definition = definition(projection.handles());
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
        param(&kind, Type::TEXT),
        param(&definition, Type::JSONB),
        param(&letter, Type::TEXT),
    ];
    sql.query(&partition.sql(REGISTER), &parameters)
        .map_err(|source| Error::in_partition("register a projection", &partition.name, source))?;
    Ok(())
}

/// Takes the shared lock on the inline projections of the partition until the transaction ends, as appends do.
pub(crate) fn share(sql: &mut dyn Sql, partition: &Partition) -> Result<()> {
    hold(sql, partition, SHARE)
}

/// Takes the exclusive lock on the inline projections of the partition until the transaction ends.
pub(crate) fn lock(sql: &mut dyn Sql, partition: &Partition) -> Result<()> {
    hold(sql, partition, LOCK)
}

fn hold(sql: &mut dyn Sql, partition: &Partition, lock: PartitionSql) -> Result<()> {
    sql.query(&partition.sql(lock), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| Error::in_partition("lock projections", &partition.name, source))?;
    Ok(())
}

/// Returns the registered status of a projection version.
pub(crate) fn status(
    sql: &mut dyn Sql,
    partition: &Partition,
    name: &str,
    version: i32,
) -> Result<Option<String>> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
    ];
    let rows = sql
        .query(&partition.sql(STATUS), &parameters)
        .map_err(|source| Error::in_partition("read a projection", &partition.name, source))?;
    Ok(scalar(&rows)?)
}

/// Returns the position that an active inline projection has reached, or `None` if no version is active.
pub(crate) fn reached(
    sql: &mut dyn Sql,
    partition: &Partition,
    name: &str,
    position: u64,
) -> Result<Option<u64>> {
    let position = to_sql(position);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&position, Type::INT8),
    ];
    let rows = sql
        .query(&partition.sql(REACHED), &parameters)
        .map_err(|source| Error::in_partition("read a projection", &partition.name, source))?;
    Ok(scalar(&rows)?.map(from_sql).transpose()?)
}

/// Changes the status of an inline projection. Returns false if the status was not the expected one.
pub(crate) fn change_status(
    sql: &mut dyn Sql,
    partition: &Partition,
    name: &str,
    version: i32,
    from: &str,
    to: &str,
) -> Result<bool> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
        param(&to, Type::TEXT),
        param(&from, Type::TEXT),
    ];
    let changed = sql.execute(&partition.sql(SET_STATUS), &parameters);
    changed
        .map(|rows| rows > 0)
        .map_err(|source| Error::in_partition("arm a projection", &partition.name, source))
}

/// Records that a program with the projection's code is alive.
pub(crate) fn renew(
    sql: &mut dyn Sql,
    partition: &Partition,
    name: &str,
    version: i32,
) -> Result<()> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
    ];
    sql.execute(&partition.sql(RENEW), &parameters)
        .map_err(|source| Error::in_partition("follow a projection", &partition.name, source))?;
    Ok(())
}

/// Makes an orphaned projection stale if it has missed too many events, or for too long.
pub(crate) fn expire(
    sql: &mut dyn Sql,
    partition: &Partition,
    name: &str,
    version: i32,
    (most, longest): (i64, &str),
) -> Result<bool> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
        param(&most, Type::INT8),
        param(&longest, Type::TEXT),
    ];
    let rows = sql
        .query(&partition.sql(EXPIRE), &parameters)
        .map_err(|source| Error::in_partition("expire a projection", &partition.name, source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Removes all versions of a projection. Returns false if there is none.
pub(crate) fn forget(sql: &mut dyn Sql, partition: &Partition, name: &str) -> Result<bool> {
    let parameters = [param(&partition.name, Type::TEXT), param(&name, Type::TEXT)];
    let rows = sql
        .query(&partition.sql(FORGET), &parameters)
        .map_err(|source| Error::in_partition("forget a projection", &partition.name, source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Activates one version of a projection.
pub(crate) fn activate(
    sql: &mut dyn Sql,
    partition: &Partition,
    name: &str,
    version: i32,
) -> Result<()> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
    ];
    sql.execute(&partition.sql(ACTIVATE), &parameters)
        .map_err(|source| Error::in_partition("activate a projection", &partition.name, source))?;
    Ok(())
}

/// The events of one enum that an active projection handles.
pub(crate) struct RegisteredEvents {
    pub(crate) projection: String,
    pub(crate) events: EventSelection,
}

/// Lists the events that active projections handle, one entry per enum.
pub(crate) fn handled_events(
    sql: &mut dyn Sql,
    partition: &Partition,
) -> Result<Vec<RegisteredEvents>> {
    let rows = sql
        .query_unnamed(
            &partition.sql(HANDLED_EVENTS),
            &[param(&partition.name, Type::TEXT)],
        )
        .map_err(|source| Error::database("read the events of projections", source))?;
    let mut handled = Vec::new();
    for row in &rows {
        let projection: String = get(row, "name")?;
        let selections =
            Vec::<EventSelection>::deserialize(get::<Value>(row, "events")?).map_err(|error| {
                Error::schema(format!(
                    "the events of projection \"{projection}\": {error}"
                ))
            })?;
        handled.extend(selections.into_iter().map(|events| RegisteredEvents {
            projection: projection.clone(),
            events,
        }));
    }
    Ok(handled)
}

/// Returns the version of a projection whose read model is live, or 0.
pub(crate) fn live_version(sql: &mut dyn Sql, partition: &Partition, name: &str) -> Result<i32> {
    let rows = sql
        .query(
            &partition.sql(LIVE_VERSION),
            &[param(&partition.name, Type::TEXT), param(&name, Type::TEXT)],
        )
        .map_err(|source| Error::database("read the live version", source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Returns whether any version of a projection is registered.
pub(crate) fn is_registered(sql: &mut dyn Sql, partition: &Partition, name: &str) -> Result<bool> {
    let rows = sql
        .query(
            &partition.sql(IS_REGISTERED),
            &[param(&partition.name, Type::TEXT), param(&name, Type::TEXT)],
        )
        .map_err(|source| Error::in_partition("read a projection", &partition.name, source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

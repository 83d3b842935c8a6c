//! Which projections a partition has, in which version, and who holds them. Owns the statements on `emt_projections`.

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

/// In one statement, so in one snapshot: a projection is active where it is registered so and has missed nothing.
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

/// The version whose read model is the live one, even where that has missed events.
const LIVE_VERSION: PartitionSql = PartitionSql::new(
    "
    SELECT version FROM {schema}.emt_projections
     WHERE partition = $1 AND name = $2 AND status IN ('active', 'async_processing', 'stale')
     ORDER BY version DESC
     LIMIT 1",
);

/// Below the first event that the active version of an inline projection has missed.
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

/// Tells that a program with the code lives; not with each batch.
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

/// When a projection is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProjectionType {
    /// In the transaction of the append.
    Inline,
    /// By a consumer, behind the appends.
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

/// What a reader may expect of the read model of a version of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProjectionStatus {
    /// Its read model is the live one. An inline one equals a fold over all stored events.
    Active,
    /// The live read model misses events that were appended by programs without this version, and a program that has the code
    /// is adding them. Each stream is right up to some version of it.
    Following,
    /// Like following, but no program that has the code has been seen for a minute. Start one, or
    /// [forget](crate::EventStore::forget_projection) the projection.
    Orphaned,
    /// It is registered, and not built from the stored events yet.
    Building,
    /// Another version is active, or none.
    Inactive,
    /// Its read model has missed events that nobody knows any more: it has to be rebuilt.
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
    /// How many.
    pub count: u64,
    /// The lowest of their global positions: all events below it are in the read model.
    pub first_position: u64,
    /// Since when.
    pub since: Option<SystemTime>,
}

/// Why an inline projection does not follow: it cannot handle an event that it has missed. It is tried again, with pauses of
/// up to a minute; the events after it wait.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProjectionFailure {
    /// The event's global position.
    pub global_position: u64,
    /// What the projection said, with the event's stream and type.
    pub error: String,
}

/// A version of a projection, as the store has registered it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegisteredProjection {
    /// Its name.
    pub name: String,
    /// The version of its code.
    pub version: u32,
    /// When it is written.
    pub projection_type: ProjectionType,
    /// What kind of projection it is.
    pub kind: String,
    /// What a reader may expect of its read model.
    pub status: ProjectionStatus,
    /// What it has missed, where it is following or orphaned.
    pub missed: Option<MissedEvents>,
    /// Why it does not follow, where it fails.
    pub failure: Option<ProjectionFailure>,
    /// The global position that its rebuild has come to, where one runs or was interrupted.
    pub rebuilding: Option<u64>,
}

/// The version of a projection's code, as the registry keeps it.
///
/// # Errors
/// [`Error::InvalidInput`] for one that the registry cannot keep.
pub(crate) fn version(projection: &dyn Projection) -> Result<i32> {
    let what = format!("the version of projection \"{}\"", projection.name());
    Ok(small_to_sql(&what, projection.version())?)
}

/// All versions of all projections of a partition.
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

/// What the registry keeps of the events that a projection handles: all types and all categories together, and each enum's.
fn definition(handled: &HandledEvents) -> Value {
    let all = handled.filter();
    json!({
        "handles": all.types,
        "categories": all.categories,
        "events": handled.selections(),
    })
}

/// Registers a projection; an inline one has to be built then, before it is active.
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

/// Holds all inline projections of the partition in place until the transaction ends, as an append does.
pub(crate) fn share(sql: &mut dyn Sql, partition: &Partition) -> Result<()> {
    hold(sql, partition, SHARE)
}

/// Holds all inline projections of the partition alone until the transaction ends.
pub(crate) fn lock(sql: &mut dyn Sql, partition: &Partition) -> Result<()> {
    hold(sql, partition, LOCK)
}

fn hold(sql: &mut dyn Sql, partition: &Partition, lock: PartitionSql) -> Result<()> {
    sql.query(&partition.sql(lock), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| Error::in_partition("hold projections", &partition.name, source))?;
    Ok(())
}

/// What stands in the registry for a version of a projection.
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
        .map_err(|source| Error::in_partition("look for a projection", &partition.name, source))?;
    Ok(scalar(&rows)?)
}

/// How far an active inline projection has handled the stored events, up to a position; `None` where none is active.
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
        .map_err(|source| Error::in_partition("look for a projection", &partition.name, source))?;
    Ok(scalar(&rows)?.map(from_sql).transpose()?)
}

/// Changes the status of an inline projection from one to another; false where it was not that one.
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

/// Tells that a program with a projection's code lives.
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

/// Makes an orphaned projection stale once it has missed more events than this, or for longer.
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

/// Removes a projection with all its versions; false where there is none.
pub(crate) fn forget(sql: &mut dyn Sql, partition: &Partition, name: &str) -> Result<bool> {
    let parameters = [param(&partition.name, Type::TEXT), param(&name, Type::TEXT)];
    let rows = sql
        .query(&partition.sql(FORGET), &parameters)
        .map_err(|source| Error::in_partition("forget a projection", &partition.name, source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Makes one version of a projection the active one.
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

/// The events of an enum that an active projection handles.
pub(crate) struct RegisteredEvents {
    pub(crate) projection: String,
    pub(crate) events: EventSelection,
}

/// What the active projections handle, each enum by itself.
pub(crate) fn handled_events(
    sql: &mut dyn Sql,
    partition: &Partition,
) -> Result<Vec<RegisteredEvents>> {
    let rows = sql
        .query_unnamed(
            &partition.sql(HANDLED_EVENTS),
            &[param(&partition.name, Type::TEXT)],
        )
        .map_err(|source| Error::database("look for the events of projections", source))?;
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

/// The version of a projection whose read model is the live one; 0 where none is.
pub(crate) fn live_version(sql: &mut dyn Sql, partition: &Partition, name: &str) -> Result<i32> {
    let rows = sql
        .query(
            &partition.sql(LIVE_VERSION),
            &[param(&partition.name, Type::TEXT), param(&name, Type::TEXT)],
        )
        .map_err(|source| Error::database("look for the live version", source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Whether any version of a projection was ever registered.
pub(crate) fn is_registered(sql: &mut dyn Sql, partition: &Partition, name: &str) -> Result<bool> {
    let rows = sql
        .query(
            &partition.sql(IS_REGISTERED),
            &[param(&partition.name, Type::TEXT), param(&name, Type::TEXT)],
        )
        .map_err(|source| Error::in_partition("look for a projection", &partition.name, source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

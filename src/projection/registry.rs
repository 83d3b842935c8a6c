//! Which projections a partition has, in which version, and who holds them. Owns the statements on `emt_projections`.

use super::Projection;
use crate::database::position::from_sql;
use crate::database::{Sql, get, param, scalar, scalars};
use crate::error::{Error, Result};
use crate::events::{EventSelection, HandledEvents, InlineVersions, Partition, PartitionSql};
use postgres::types::Type;
use serde::Deserialize;
use serde_json::{Value, json};

const REGISTER: PartitionSql =
    PartitionSql::new("SELECT {schema}.emt_projection_register($1, $2, $3, $6, $4, $5)");

const LIST: PartitionSql = PartitionSql::new(
    "
    SELECT projection.name, projection.version, projection.type, projection.kind, projection.status,
           rebuild.position AS rebuilding
      FROM {schema}.emt_projections AS projection
      LEFT JOIN {schema}.emt_rebuilds AS rebuild
        ON rebuild.partition = projection.partition AND rebuild.name = projection.name
       AND rebuild.version = projection.version
     WHERE projection.partition = $1
     ORDER BY projection.name COLLATE \"C\", projection.version",
);

const SHARE: PartitionSql = PartitionSql::new("SELECT {schema}.emt_projection_share($1, $2)");

/// Holds the inline projections in place, whatever their versions.
const SHARE_ALL: PartitionSql =
    PartitionSql::new("SELECT pg_advisory_xact_lock_shared({schema}.emt_projection_lock_key($1))");

/// Waits for the appends that hold inline projections, and makes those that come later wait.
const LOCK: PartitionSql =
    PartitionSql::new("SELECT pg_advisory_xact_lock({schema}.emt_projection_lock_key($1))");

const ACTIVATE: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_projections
       SET status = CASE WHEN version = $3 THEN 'active' ELSE 'inactive' END, last_updated = now()
     WHERE partition = $1 AND name = $2",
);

const OTHER_ACTIVE: PartitionSql = PartitionSql::new(
    "
    SELECT name FROM {schema}.emt_projections
     WHERE partition = $1 AND type = 'i' AND status = 'active' AND name <> ALL($2)
     ORDER BY name",
);

const MARK_STALE: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_projections SET status = 'stale', last_updated = now()
     WHERE partition = $1 AND type = 'i' AND status = 'active' AND name = ANY($2)",
);

const STALE_INLINE: PartitionSql = PartitionSql::new(
    "
    SELECT name, version FROM {schema}.emt_projections
     WHERE partition = $1 AND type = 'i' AND status = 'stale'
     ORDER BY name, version",
);

const HANDLED_EVENTS: PartitionSql = PartitionSql::new(
    "
    SELECT name, definition -> 'events' AS events FROM {schema}.emt_projections
     WHERE partition = $1 AND status = 'active' AND jsonb_typeof(definition -> 'events') = 'array'
     ORDER BY name COLLATE \"C\"",
);

/// The version whose read model is the live one, even where that has missed events.
const LIVE_VERSION: PartitionSql = PartitionSql::new(
    "
    SELECT version FROM {schema}.emt_projections
     WHERE partition = $1 AND name = $2 AND status IN ('active', 'stale')
     ORDER BY version DESC
     LIMIT 1",
);

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
}

/// What the registry says of a version of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProjectionStatus {
    /// Its read model is the live one.
    Active,
    /// Another version is active, or none.
    Inactive,
    /// Its read model has missed events: it has to be rebuilt.
    Stale,
}

impl std::fmt::Display for ProjectionStatus {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Stale => "stale",
        })
    }
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
    /// Whether its read model is the live one.
    pub status: ProjectionStatus,
    /// The global position that its rebuild has come to, where one runs or was interrupted.
    pub rebuilding: Option<u64>,
}

/// The version of a projection's code, as the registry keeps it.
pub(crate) fn version(projection: &dyn Projection) -> i32 {
    i32::try_from(projection.version()).unwrap_or(i32::MAX)
}

/// All versions of all projections of a partition.
pub(crate) fn list(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<RegisteredProjection>> {
    let rows = sql
        .query(&partition.sql(LIST), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| Error::in_partition("list projections", &partition.name, source))?;
    rows.iter()
        .map(|row| {
            Ok(RegisteredProjection {
                name: get(row, "name")?,
                version: u32::try_from(get::<i32>(row, "version")?).unwrap_or(0),
                projection_type: match get::<&str>(row, "type")? {
                    "i" => ProjectionType::Inline,
                    _ => ProjectionType::Asynchronous,
                },
                kind: get(row, "kind")?,
                status: match get::<&str>(row, "status")? {
                    "active" => ProjectionStatus::Active,
                    "stale" => ProjectionStatus::Stale,
                    _ => ProjectionStatus::Inactive,
                },
                rebuilding: get::<Option<i64>>(row, "rebuilding")?.map(from_sql),
            })
        })
        .collect()
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

/// Registers a projection; where none of its name is active yet, this version becomes the active one.
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

/// Holds projections in place until the transaction ends, as an append does.
pub(crate) fn share(
    sql: &mut dyn Sql,
    partition: &Partition,
    inline: &InlineVersions,
) -> Result<()> {
    let versions = inline.as_jsonb();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&versions, Type::JSONB),
    ];
    sql.query(&partition.sql(SHARE), &parameters)
        .map_err(|source| Error::in_partition("hold projections", &partition.name, source))?;
    Ok(())
}

/// Holds all inline projections of the partition alone until the transaction ends.
pub(crate) fn lock(sql: &mut dyn Sql, partition: &Partition) -> Result<()> {
    hold(sql, partition, LOCK)
}

/// Holds all inline projections of the partition in place, so that none of them is rebuilt until the transaction ends.
pub(crate) fn share_all(sql: &mut dyn Sql, partition: &Partition) -> Result<()> {
    hold(sql, partition, SHARE_ALL)
}

fn hold(sql: &mut dyn Sql, partition: &Partition, lock: PartitionSql) -> Result<()> {
    sql.query(&partition.sql(lock), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| Error::in_partition("hold projections", &partition.name, source))?;
    Ok(())
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

/// The active inline projections that are not among these.
pub(crate) fn other_active(
    sql: &mut dyn Sql,
    partition: &Partition,
    names: &[String],
) -> Result<Vec<String>> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&names, Type::TEXT_ARRAY),
    ];
    let rows = sql
        .query(&partition.sql(OTHER_ACTIVE), &parameters)
        .map_err(|source| Error::database("look for inline projections", source))?;
    Ok(scalars(&rows)?)
}

/// Notes that events were stored without these projections.
pub(crate) fn mark_stale(sql: &mut dyn Sql, partition: &Partition, names: &[String]) -> Result<()> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&names, Type::TEXT_ARRAY),
    ];
    sql.execute(&partition.sql(MARK_STALE), &parameters)
        .map_err(|source| Error::database("mark inline projections stale", source))?;
    Ok(())
}

/// The names and versions of the inline projections that have missed events.
pub(crate) fn stale_inline(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<(String, i32)>> {
    let rows = sql
        .query_unnamed(
            &partition.sql(STALE_INLINE),
            &[param(&partition.name, Type::TEXT)],
        )
        .map_err(|source| Error::database("look for inline projections", source))?;
    rows.iter()
        .map(|row| Ok((get(row, "name")?, get(row, "version")?)))
        .collect()
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

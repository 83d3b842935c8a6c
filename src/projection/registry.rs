//! Which projections a partition has, in which version, and who holds them. Owns the statements on `emt_projections`.

use super::Projection;
use crate::connection::{Sql, get, param};
use crate::error::{Error, Result};
use crate::partition::Partition;
use crate::stream::InlineVersions;
use postgres::types::Type;
use serde_json::json;

const REGISTER: &str = "SELECT {schema}.emt_register($1, $2, $3, 'i', $4, $5)";

const SHARE: &str = "SELECT {schema}.emt_share_projections($1, $2, $3)";

/// Waits for the appends that hold the projection, and makes those that come later wait.
const LOCK: &str = "SELECT pg_advisory_xact_lock({schema}.emt_projection_lock($1, $2))";

const ACTIVATE: &str = "
    UPDATE {schema}.emt_projections
       SET status = CASE WHEN version = $3 THEN 'active' ELSE 'inactive' END, last_updated = now()
     WHERE partition = $1 AND name = $2";

const SHARE_OTHERS: &str = "
    SELECT pg_advisory_xact_lock_shared({schema}.emt_projection_lock($1, other.name))
      FROM (SELECT DISTINCT name FROM {schema}.emt_projections
             WHERE partition = $1 AND type = 'i' AND name <> ALL($2)
             ORDER BY name) AS other";

const OTHER_ACTIVE: &str = "
    SELECT name FROM {schema}.emt_projections
     WHERE partition = $1 AND type = 'i' AND status = 'active' AND name <> ALL($2)
     ORDER BY name";

const MARK_STALE: &str = "
    UPDATE {schema}.emt_projections SET status = 'stale', last_updated = now()
     WHERE partition = $1 AND type = 'i' AND status = 'active' AND name = ANY($2)";

/// Registers a projection; where none of its name is active yet, this version becomes the active one.
pub(super) fn register(
    sql: &mut dyn Sql,
    partition: &Partition,
    projection: &dyn Projection,
    version: i32,
) -> Result<()> {
    let (name, kind) = (projection.name(), projection.kind());
    let definition = json!({ "handles": projection.handles() });
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
        param(&kind, Type::TEXT),
        param(&definition, Type::JSONB),
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
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&inline.names, Type::TEXT_ARRAY),
        param(&inline.versions, Type::INT4_ARRAY),
    ];
    sql.query(&partition.sql(SHARE), &parameters)
        .map_err(|source| Error::in_partition("hold projections", &partition.name, source))?;
    Ok(())
}

/// Holds a projection alone until the transaction ends.
pub(super) fn lock(sql: &mut dyn Sql, partition: &Partition, name: &str) -> Result<()> {
    let parameters = [param(&partition.name, Type::TEXT), param(&name, Type::TEXT)];
    sql.query(&partition.sql(LOCK), &parameters)
        .map_err(|source| Error::in_partition("lock a projection", &partition.name, source))?;
    Ok(())
}

/// Makes one version of a projection the active one.
pub(super) fn activate(
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

/// Holds the projections that are not among these, so that none of them is rebuilt until the transaction ends.
pub(crate) fn share_others(
    sql: &mut dyn Sql,
    partition: &Partition,
    names: &[String],
) -> Result<()> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&names, Type::TEXT_ARRAY),
    ];
    sql.query(&partition.sql(SHARE_OTHERS), &parameters)
        .map_err(|source| Error::database("hold inline projections", source))?;
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
    rows.iter().map(|row| get(row, 0)).collect()
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

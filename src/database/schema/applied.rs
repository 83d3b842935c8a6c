//! The migrations that a database has.

use super::migration::{MIGRATIONS, Migration, SchemaPart, checksum};
use super::statement::{is_true, look_failed, migration_failed};
use crate::database::error::{DatabaseError, Result};
use crate::database::sql_template::SchemaSql;
use crate::database::{Sql, get, param};
use postgres::types::Type;

const HAS_MIGRATIONS: &str =
    "SELECT pg_catalog.to_regclass(pg_catalog.format('%I.emt_migrations', $1)) IS NOT NULL";

const APPLIED: SchemaSql =
    SchemaSql::new("SELECT version, name, checksum FROM {schema}.emt_migrations ORDER BY version");

const RECORD: SchemaSql = SchemaSql::new(
    "
    INSERT INTO {schema}.emt_migrations (version, name, checksum) VALUES ($1, $2, $3)
    ON CONFLICT (version) DO UPDATE SET checksum = EXCLUDED.checksum",
);

pub(super) struct Applied {
    pub(super) version: i32,
    pub(super) name: String,
    pub(super) checksum: Option<String>,
}

pub(super) fn applied(sql: &mut dyn Sql, schema: &str) -> Result<Vec<Applied>> {
    if !is_true(sql, HAS_MIGRATIONS, schema)? {
        return Ok(Vec::new());
    }
    let rows = sql
        .query(&APPLIED.in_schema(schema), &[])
        .map_err(look_failed)?;
    rows.iter()
        .map(|row| {
            Ok(Applied {
                version: get(row, "version")?,
                name: get(row, "name")?,
                checksum: get(row, "checksum")?,
            })
        })
        .collect()
}

/// Refuses a schema that is newer, or that was changed after it was applied.
pub(super) fn check_history(applied: &[Applied]) -> Result<()> {
    for found in applied {
        let Some(known) = MIGRATIONS
            .iter()
            .find(|known| known.version == found.version)
        else {
            return Err(DatabaseError::schema(format!(
                "the schema has version {}, newer than this library, which knows {}: update the library",
                found.version,
                SchemaPart::EventStore.latest()
            )));
        };
        let differs = found
            .checksum
            .as_ref()
            .is_some_and(|found| *found != checksum(known));
        if differs || found.name != known.name {
            return Err(DatabaseError::schema(format!(
                "migration {} (\"{}\") was applied with other content than this library's: \
                 use the build of the library that applied it",
                found.version, found.name
            )));
        }
    }
    Ok(())
}

/// Records a migration, or the checksum of one that psql applied.
pub(super) fn record(sql: &mut dyn Sql, schema: &str, migration: &Migration) -> Result<()> {
    let (name, checksum) = (migration.name, checksum(migration));
    let row = [
        param(&migration.version, Type::INT4),
        param(&name, Type::TEXT),
        param(&checksum, Type::TEXT),
    ];
    sql.execute(&RECORD.in_schema(schema), &row)
        .map_err(migration_failed)?;
    Ok(())
}

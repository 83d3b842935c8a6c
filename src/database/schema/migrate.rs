//! Migration: applies the versions that a database lacks.

use super::adoption::{adopt, is_emmetts, is_replaced, mend, remark};
use super::applied::{applied, check_history, record};
use super::migration::SchemaPart;
use super::report::MigrationReport;
use super::server::{check_server, encoding_remark};
use super::statement::migration_failed;
use super::text::render;
use crate::database::error::Result;
use crate::database::{Sql, param};
use postgres::types::Type;

const LOCK: &str =
    "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('emt.migrate/' || $1, 0))";

pub(super) fn apply(sql: &mut dyn Sql, schema: &str, part: SchemaPart) -> Result<MigrationReport> {
    // Locks before the applied versions are read: a migration that waits here sees the changes of the previous one.
    sql.query(LOCK, &[param(&schema, Type::TEXT)])
        .map_err(migration_failed)?;
    check_server(sql)?;
    let applied = applied(sql, schema)?;
    check_history(&applied)?;
    // Checked before the schema adds the tables that distinguish Emmett's.
    let adopting = part == SchemaPart::EventStore && is_emmetts(sql, schema, &applied)?;
    let mut report = MigrationReport::default();
    for migration in part.migrations() {
        let found = applied
            .iter()
            .find(|found| found.version == migration.version);
        if found.is_none() {
            sql.batch(&render(&migration.sql(), schema))
                .map_err(migration_failed)?;
        }
        if found.is_none_or(|found| found.checksum.is_none()) {
            record(sql, schema, migration)?;
        }
        report.add(migration.name.to_owned(), found.is_none());
    }
    if adopting {
        adopt(sql, schema)?;
        report.applied.push("adopt_emmett".to_owned());
    }
    if part == SchemaPart::EventStore && is_replaced(sql, schema)? {
        mend(sql, schema)?;
        report.applied.push("functions for Emmett".to_owned());
    }
    report.remarks.extend(encoding_remark(sql)?);
    report.remarks.extend(remark(sql, schema)?);
    Ok(report)
}

//! Statements on the schema, and their errors.

use crate::database::error::{DatabaseError, Result};
use crate::database::{Sql, param, scalar};
use postgres::types::Type;

pub(super) fn look_failed(source: postgres::Error) -> DatabaseError {
    DatabaseError::statement("inspect the schema", source)
}

pub(super) fn migration_failed(source: postgres::Error) -> DatabaseError {
    DatabaseError::statement("migrate the schema", source)
}

pub(super) fn is_true(sql: &mut dyn Sql, question: &str, schema: &str) -> Result<bool> {
    let rows = sql
        .query(question, &[param(&schema, Type::TEXT)])
        .map_err(look_failed)?;
    let answer: Option<bool> = scalar(&rows)?.flatten();
    Ok(answer == Some(true))
}

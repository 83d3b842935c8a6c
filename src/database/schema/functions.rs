//! Calls of the schema's functions.

use super::state::SchemaState;
use crate::database::error::{DatabaseError, Result};
use crate::database::sql_template::SchemaSql;
use crate::database::{Sql, param, scalar};
use postgres::error::SqlState;
use postgres::types::Type;

const CREATE_COLLECTION: SchemaSql = SchemaSql::new(
    "
    SELECT {schema}.emt_collection_create($1) WHERE {schema}.emt_document_hold_tenant($2) IS NOT NULL",
);

/// Creates a collection's table if it is missing. Returns false if it exists. The partition has to exist.
pub(crate) fn create_collection(
    sql: &mut dyn Sql,
    schema: &str,
    partition: &str,
    collection: &str,
) -> Result<bool> {
    let rows = sql
        .query(
            &CREATE_COLLECTION.in_schema(schema),
            &[
                param(&collection, Type::TEXT),
                param(&partition, Type::TEXT),
            ],
        )
        .map_err(|source| function_error("create a collection", source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Returns the error of a failed call of one of the schema's functions. A missing function means that the schema is missing.
pub(crate) fn function_error(doing: &'static str, source: postgres::Error) -> DatabaseError {
    let missing = [SqlState::UNDEFINED_FUNCTION, SqlState::INVALID_SCHEMA_NAME];
    if source.code().is_some_and(|code| missing.contains(code)) {
        return DatabaseError::schema(SchemaState::Missing.to_string());
    }
    DatabaseError::statement(doing, source)
}

//! The SQL of the schema, with a given schema name.

use super::files;
use super::migration::SchemaPart;
use crate::database::error::{DatabaseError, Result};
use crate::database::identifier;

/// Placeholder of the schema name in the files.
const SCHEMA_WORD: &str = "public";

/// Returns the SQL of a part of the schema, with this schema name.
pub(crate) fn sql(schema: &str, part: SchemaPart) -> String {
    let documents = files::DOCUMENTS.joined("");
    let text = match part {
        SchemaPart::Documents => documents,
        SchemaPart::EventStore => files::EVENT_STORE.joined(&documents),
    };
    render(&text, schema)
}

/// The schema name also appears in string literals and function bodies, so it must not contain a character that ends them.
pub(crate) fn check_name(schema: &str) -> Result<()> {
    identifier::check("the schema name", schema)?;
    match schema
        .chars()
        .find(|character| matches!(character, '\'' | '$' | '\\' | '"' | '%'))
    {
        Some(character) => Err(DatabaseError::invalid(
            format!("the schema name {schema:?}"),
            format!("must not contain {character}"),
        )),
        None => Ok(()),
    }
}

pub(super) fn render(sql: &str, schema: &str) -> String {
    if schema == SCHEMA_WORD {
        sql.to_owned()
    } else {
        sql.replace(SCHEMA_WORD, &identifier::quote(schema))
    }
}

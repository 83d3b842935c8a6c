//! The indexes that a collection has: looking at them, creating and dropping them.

use super::declaration::{Index, IndexDescription, IndexNote};
use crate::database::{SchemaSql, Sql, get, param, scalar};
use crate::pongo::error::{Error, Result};
use postgres::error::SqlState;
use postgres::types::Type;

/// Who has a name, in the whole schema.
const FIND: &str = "
    SELECT indexed.relname AS table_name, pg_catalog.obj_description(named.oid, 'pg_class') AS note, indisvalid
      FROM pg_class AS named
      LEFT JOIN pg_index ON indexrelid = named.oid
      LEFT JOIN pg_class AS indexed ON indexed.oid = indrelid
     WHERE named.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident($1))::OID AND named.relname = $2";

const LIST: &str = "
    SELECT relname, pg_catalog.obj_description(indexrelid, 'pg_class') AS note, indisunique, indisvalid,
           pg_catalog.pg_get_indexdef(indexrelid) AS definition
      FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
     WHERE indrelid = pg_catalog.to_regclass(pg_catalog.format('%I.%I', $1, $2))::OID AND NOT indisprimary
     ORDER BY relname COLLATE \"C\"";

const LOCK: SchemaSql = SchemaSql::new("SELECT {schema}.emt_collection_lock($1)");

const NOTE: SchemaSql = SchemaSql::new("SELECT {schema}.emt_index_note($1, $2, $3)");

const DROP: SchemaSql = SchemaSql::new("SELECT {schema}.emt_index_drop($1, $2)");

const RENAME: SchemaSql = SchemaSql::new("SELECT {schema}.emt_index_rename($1, $2)");

/// What there is of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// What a concurrent build that failed has left, or what one builds now.
    Invalid,
    Index,
}

/// Looks for an index. Something else under its name is an error.
pub(crate) fn look(
    sql: &mut dyn Sql,
    schema: &str,
    collection: &str,
    index: &Index,
) -> Result<Found> {
    let name = index.name(collection);
    let names = [param(&schema, Type::TEXT), param(&name, Type::TEXT)];
    let rows = sql.query(FIND, &names).map_err(unlooked)?;
    let Some(row) = rows.first() else {
        return Ok(Found::Nothing);
    };
    let mismatch = |reason: String| {
        Err(Error::IndexMismatch {
            collection: collection.to_owned(),
            index: name.clone(),
            reason,
        })
    };
    let table: Option<&str> = get(row, "table_name")?;
    let is_valid: Option<bool> = get(row, "indisvalid")?;
    match table {
        Some(table) if table == collection => {}
        Some(table) => return mismatch(format!("table \"{table}\" has an index of that name")),
        None => return mismatch("there is a table or view of that name".to_owned()),
    }
    let note = get::<Option<&str>>(row, "note")?.and_then(IndexNote::parse);
    match (note, is_valid) {
        (Some(note), _) if note.definition != *index.definition() => mismatch(format!(
            "it is {}, not {}",
            note.definition.describe(),
            index.definition().describe()
        )),
        (_, Some(false)) => Ok(Found::Invalid),
        (Some(_), _) => Ok(Found::Index),
        (None, _) => mismatch("this library has not created it".to_owned()),
    }
}

/// Creates an index in the transaction; false when it exists.
pub(crate) fn create(
    sql: &mut dyn Sql,
    schema: &str,
    collection: &str,
    index: &Index,
) -> Result<bool> {
    lock(sql, schema, collection)?;
    match look(sql, schema, collection, index)? {
        Found::Index => return Ok(false),
        Found::Invalid => {
            drop(sql, schema, collection, &index.name(collection))?;
        }
        Found::Nothing => {}
    }
    let name = index.name(collection);
    sql.batch(&index.statement(schema, collection, &name, false)?)
        .map_err(|source| refused(collection, index, source))?;
    note(sql, schema, collection, &name, index)?;
    Ok(true)
}

/// Drops an index in the transaction; false when the collection has none of that name.
pub(crate) fn drop(sql: &mut dyn Sql, schema: &str, collection: &str, name: &str) -> Result<bool> {
    let names = [param(&collection, Type::TEXT), param(&name, Type::TEXT)];
    let rows = sql
        .query(&DROP.in_schema(schema), &names)
        .map_err(|source| Error::database("drop an index", source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

pub(crate) fn list(
    sql: &mut dyn Sql,
    schema: &str,
    collection: &str,
) -> Result<Vec<IndexDescription>> {
    let names = [param(&schema, Type::TEXT), param(&collection, Type::TEXT)];
    let rows = sql.query(LIST, &names).map_err(unlooked)?;
    rows.iter()
        .map(|row| {
            let note = get::<Option<&str>>(row, "note")?.and_then(IndexNote::parse);
            Ok(IndexDescription {
                name: get(row, "relname")?,
                fields: note.map_or_else(Vec::new, |note| note.definition.fields),
                unique: get(row, "indisunique")?,
                valid: get(row, "indisvalid")?,
                sql: get(row, "definition")?,
            })
        })
        .collect()
}

/// Gives the indexes of a renamed collection the names that they would have been given under its new name.
pub(crate) fn rename_all(
    sql: &mut dyn Sql,
    schema: &str,
    collection: &str,
    new_name: &str,
) -> Result<()> {
    let names = [param(&schema, Type::TEXT), param(&new_name, Type::TEXT)];
    let rows = sql.query(LIST, &names).map_err(unlooked)?;
    for row in &rows {
        let name: &str = get(row, "relname")?;
        let Some(note) = get::<Option<&str>>(row, "note")?.and_then(IndexNote::parse) else {
            continue;
        };
        if note.has_own_name || note.definition.name(collection) != name {
            continue;
        }
        rename(sql, schema, name, &note.definition.name(new_name))?;
    }
    Ok(())
}

pub(crate) fn rename(sql: &mut dyn Sql, schema: &str, name: &str, new_name: &str) -> Result<()> {
    let names = [param(&name, Type::TEXT), param(&new_name, Type::TEXT)];
    sql.query(&RENAME.in_schema(schema), &names)
        .map_err(|source| Error::database("rename an index", source))?;
    Ok(())
}

/// Keeps others from creating, dropping or renaming the collection and its indexes until the transaction ends.
pub(crate) fn lock(sql: &mut dyn Sql, schema: &str, collection: &str) -> Result<()> {
    sql.query(&LOCK.in_schema(schema), &[param(&collection, Type::TEXT)])
        .map_err(|source| Error::database("lock a collection", source))?;
    Ok(())
}

/// Keeps what the index of that name was created as.
pub(crate) fn note(
    sql: &mut dyn Sql,
    schema: &str,
    collection: &str,
    name: &str,
    index: &Index,
) -> Result<()> {
    let comment = index.comment();
    let values = [
        param(&collection, Type::TEXT),
        param(&name, Type::TEXT),
        param(&comment, Type::TEXT),
    ];
    sql.query(&NOTE.in_schema(schema), &values)
        .map_err(|source| Error::database("note what an index is", source))?;
    Ok(())
}

fn unlooked(source: postgres::Error) -> Error {
    Error::database("look at indexes", source)
}

pub(crate) fn refused(collection: &str, index: &Index, source: postgres::Error) -> Error {
    if source.code() == Some(&SqlState::UNIQUE_VIOLATION) {
        return Error::NotUnique {
            collection: collection.to_owned(),
            index: index.name(collection),
            source,
        };
    }
    Error::database("create an index", source)
}

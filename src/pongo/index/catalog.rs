//! The existing indexes of a collection: find, create and drop.

use super::declaration::{Index, IndexDescription};
use super::definition::IndexNote;
use crate::database::{SchemaSql, Sql, get, param, scalar};
use crate::pongo::error::{Error, Result};
use postgres::Row;
use postgres::error::SqlState;
use postgres::types::Type;

/// Finds the owner of a name in the whole schema.
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

/// The state of an index in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// The remains of a failed concurrent build, or a build that is running now.
    Invalid,
    Index,
}

/// The indexes of one collection.
pub(crate) struct Catalog<'c> {
    sql: &'c mut dyn Sql,
    schema: &'c str,
    collection: &'c str,
}

impl<'c> Catalog<'c> {
    pub(crate) fn new(sql: &'c mut dyn Sql, schema: &'c str, collection: &'c str) -> Self {
        Self {
            sql,
            schema,
            collection,
        }
    }

    /// Finds an index. A different object of the same name is an error.
    pub(crate) fn look(&mut self, index: &Index) -> Result<Found> {
        let name = index.name(self.collection);
        let rows = self.query("look at indexes", FIND, &[self.schema, &name])?;
        let Some(row) = rows.first() else {
            return Ok(Found::Nothing);
        };
        let mismatch = |reason: String| {
            Err(Error::IndexMismatch {
                collection: self.collection.to_owned(),
                index: name.clone(),
                reason,
            })
        };
        match get::<Option<&str>>(row, "table_name")? {
            Some(table) if table == self.collection => {}
            Some(table) => return mismatch(format!("table \"{table}\" has an index of that name")),
            None => return mismatch("there is a table or view of that name".to_owned()),
        }
        let is_valid: Option<bool> = get(row, "indisvalid")?;
        match (note_of(row)?, is_valid) {
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

    /// Creates an index in the transaction. Returns false if it already exists.
    pub(crate) fn create(&mut self, index: &Index) -> Result<bool> {
        self.lock()?;
        let name = index.name(self.collection);
        match self.look(index)? {
            Found::Index => return Ok(false),
            Found::Invalid => {
                self.drop(&name)?;
            }
            Found::Nothing => {}
        }
        let statement = index.statement(self.schema, self.collection, &name, false)?;
        self.sql
            .batch(&statement)
            .map_err(|source| refused(self.collection, index, source))?;
        self.note(&name, index)?;
        Ok(true)
    }

    /// Drops an index in the transaction. Returns false if the collection has no index of that name.
    pub(crate) fn drop(&mut self, name: &str) -> Result<bool> {
        let rows = self.call("drop an index", &DROP, &[self.collection, name])?;
        Ok(scalar(&rows)?.unwrap_or_default())
    }

    pub(crate) fn list(&mut self) -> Result<Vec<IndexDescription>> {
        let rows = self.query("look at indexes", LIST, &[self.schema, self.collection])?;
        rows.iter()
            .map(|row| {
                Ok(IndexDescription {
                    name: get(row, "relname")?,
                    fields: note_of(row)?.map_or_else(Vec::new, |note| note.definition.fields),
                    unique: get(row, "indisunique")?,
                    valid: get(row, "indisvalid")?,
                    sql: get(row, "definition")?,
                })
            })
            .collect()
    }

    /// Renames the indexes of a renamed collection to the default names under its new name.
    pub(crate) fn rename_all(&mut self, old_name: &str) -> Result<()> {
        let rows = self.query("look at indexes", LIST, &[self.schema, self.collection])?;
        for row in &rows {
            let name: &str = get(row, "relname")?;
            let Some(note) = note_of(row)? else {
                continue;
            };
            if !note.has_own_name && note.definition.name(old_name) == name {
                self.rename(name, &note.definition.name(self.collection))?;
            }
        }
        Ok(())
    }

    pub(crate) fn rename(&mut self, name: &str, new_name: &str) -> Result<()> {
        self.call("rename an index", &RENAME, &[name, new_name])?;
        Ok(())
    }

    /// Prevents other transactions from creating, dropping or renaming the collection and its indexes until this one ends.
    pub(crate) fn lock(&mut self) -> Result<()> {
        self.call("lock a collection", &LOCK, &[self.collection])?;
        Ok(())
    }

    /// Records the definition of the index in its comment.
    pub(crate) fn note(&mut self, name: &str, index: &Index) -> Result<()> {
        let comment = index.comment();
        let values = [self.collection, name, &comment];
        self.call("note what an index is", &NOTE, &values)?;
        Ok(())
    }

    fn call(
        &mut self,
        doing: &'static str,
        function: &SchemaSql,
        values: &[&str],
    ) -> Result<Vec<Row>> {
        self.query(doing, &function.in_schema(self.schema), values)
    }

    fn query(&mut self, doing: &'static str, text: &str, values: &[&str]) -> Result<Vec<Row>> {
        let values: Vec<_> = values
            .iter()
            .map(|value| param(value, Type::TEXT))
            .collect();
        self.sql
            .query(text, &values)
            .map_err(|source| Error::database(doing, source))
    }
}

fn note_of(row: &Row) -> Result<Option<IndexNote>> {
    Ok(get::<Option<&str>>(row, "note")?.and_then(IndexNote::parse))
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

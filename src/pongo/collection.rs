//! Collections: a name, and what its statements run on.

use super::document::DocumentTable;
use super::home::CollectionHome;
use super::statement::Statement;
use crate::connection::get;
use crate::error::Result;
use crate::position::from_sql;
use serde_json::Value;
use std::marker::PhantomData;

const COUNT: &str = "SELECT count(*) FROM {table} WHERE _partition = $1 AND ";

const DELETE: &str = "DELETE FROM {table} WHERE _partition = $1 AND ";

/// A collection of documents of type `T`; `serde_json::Value` takes any.
///
/// A document is a JSON object. Its id is the field `_id`, a string; the field `_version` counts its changes. A type that
/// has these fields gets them when it is read.
pub struct Collection<'a, T> {
    pub(super) home: CollectionHome<'a>,
    pub(super) name: String,
    /// The table's name, where a rebuild keeps the documents in another one.
    table: Option<String>,
    _document: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Collection<'_, T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Collection")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<'a, T> Collection<'a, T> {
    pub(crate) fn new(home: CollectionHome<'a>, name: &str) -> Self {
        Self {
            home,
            name: name.to_owned(),
            table: None,
            _document: PhantomData,
        }
    }

    /// A collection whose documents are in a table of another name.
    pub(crate) fn in_table(home: CollectionHome<'a>, name: &str, table: String) -> Self {
        Self {
            table: Some(table),
            ..Self::new(home, name)
        }
    }

    /// The collection's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn table(&self) -> Result<DocumentTable> {
        let table = self.table.as_deref().unwrap_or(&self.name);
        DocumentTable::new(self.home.schema(), self.home.partition(), &self.name, table)
    }

    /// How many documents match the filter; `json!({})` matches all.
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter is not valid.
    pub fn count_documents(&self, filter: Value) -> Result<u64> {
        let statement = Statement::new(&self.table()?, COUNT, &filter)?;
        self.home.run(&self.name, true, |sql| {
            let rows = statement.query(sql)?;
            rows.first().map_or(Ok(0), |row| get(row, 0).map(from_sql))
        })
    }

    /// Deletes the documents that match the filter, and returns how many; `json!({})` matches all.
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter is not valid.
    pub fn delete_many(&self, filter: Value) -> Result<u64> {
        let statement = Statement::new(&self.table()?, DELETE, &filter)?;
        self.home
            .run(&self.name, true, |sql| statement.execute(sql))
    }
}

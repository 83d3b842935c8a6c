//! Deleting documents.

use super::options::DeleteOptions;
use super::outcome::Deleted;
use crate::database::position::get_u64;
use crate::database::{Sql, get};
use crate::pongo::collection::Collection;
use crate::pongo::document::{StoredDocument, Take};
use crate::pongo::error::{Error, Result};
use crate::pongo::filter::Filter;
use crate::pongo::statement::{PICK, StatementBuilder, StatementSql};
use serde::de::DeserializeOwned;

const DELETE_ONE: StatementSql = StatementSql::new(
    ", deleted AS (
        DELETE FROM {table} AS document
         USING picked
         WHERE document._id = picked._id AND document._partition = $1 AND {expected}
        RETURNING document._id
    )
    SELECT {returned}, picked._id, picked._version, deleted._id IS NOT NULL AS is_deleted
      FROM picked LEFT JOIN deleted ON deleted._id = picked._id",
);

/// Locks the documents in the order of their ids first, so that two writes of many do not wait for each other.
const DELETE_MANY: StatementSql = StatementSql::new(
    "
    WITH picked AS (
        SELECT _id
          FROM {table}
         WHERE _partition = $1 AND {known} AND {filter}
         ORDER BY _id COLLATE \"C\"
           FOR UPDATE
    )
    DELETE FROM {table} AS document
     USING picked
     WHERE document._id = picked._id AND document._partition = $1",
);

const NOTHING: &str = "NULL::jsonb";
const DOCUMENT: &str = "picked.data";

impl<T> Collection<'_, T> {
    /// Deletes a document that matches the filter, whichever the server finds first.
    ///
    /// # Errors
    /// Like [`delete_one_with`](Collection::delete_one_with).
    pub fn delete_one(&self, filter: impl Into<Filter>) -> Result<Deleted> {
        self.delete_one_with(filter, DeleteOptions::new())
    }

    /// Deletes a document that matches the filter.
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter is not valid, [`Error::Conflict`] when the document is not what the options
    /// expect; nothing is deleted then.
    pub fn delete_one_with(
        &self,
        filter: impl Into<Filter>,
        options: DeleteOptions,
    ) -> Result<Deleted> {
        self.delete_first(&filter.into(), &options, None)
    }

    /// Deletes the documents that match the filter, and returns how many; `json!({})` matches all.
    ///
    /// # Errors
    /// [`Error::Filter`] when the filter is not valid.
    pub fn delete_many(&self, filter: impl Into<Filter>) -> Result<u64> {
        let (table, filter) = (self.table()?, filter.into());
        let statement = StatementBuilder::new(table)
            .filter(&filter)?
            .build(&[DELETE_MANY]);
        self.write(|sql| statement.execute("delete documents", sql))
    }

    fn delete_first(
        &self,
        filter: &Filter,
        options: &DeleteOptions,
        take: Option<Take<'_>>,
    ) -> Result<Deleted> {
        let statement = StatementBuilder::new(self.table()?)
            .filter(filter)?
            .order(options.sort.as_ref())?
            .expected(options.expected)
            .part("returned", take.map_or(NOTHING, |_| DOCUMENT))
            .build(&[PICK, DELETE_ONE]);
        let run = |sql: &mut dyn Sql| statement.query("delete a document", sql);
        let row = match take {
            None => self.write_row(run, None),
            Some(take) => self.write_row(
                run,
                Some(&|row| {
                    if get(row, "is_deleted")? {
                        take(&StoredDocument::of_row(row)?)?;
                    }
                    Ok(())
                }),
            ),
        }?;
        let Some(row) = row else {
            let id = filter.pinned_id().map(str::to_owned);
            return self.undeleted(options, id, 0);
        };
        let id: String = get(&row, "_id")?;
        if get(&row, "is_deleted")? {
            return Ok(Deleted {
                id: Some(id),
                conflict: None,
            });
        }
        let version = get_u64(&row, "_version")?;
        self.undeleted(options, Some(id), version)
    }

    /// What to say where nothing was deleted.
    fn undeleted(
        &self,
        options: &DeleteOptions,
        id: Option<String>,
        version: u64,
    ) -> Result<Deleted> {
        if options.expected.is_met_by(version) {
            return Ok(Deleted::default());
        }
        let conflict = self.conflict(id, options.expected, version);
        if !options.reports_conflict {
            return Err(Error::Conflict(conflict));
        }
        Ok(Deleted {
            id: None,
            conflict: Some(conflict),
        })
    }
}

impl<T: DeserializeOwned> Collection<'_, T> {
    /// Deletes a document that matches the filter, and gives it; `None` where none matched.
    ///
    /// # Errors
    /// Like [`find_one_and_delete_with`](Collection::find_one_and_delete_with).
    pub fn find_one_and_delete(&self, filter: impl Into<Filter>) -> Result<Option<T>> {
        self.find_one_and_delete_with(filter, DeleteOptions::new())
    }

    /// Like [`delete_one_with`](Collection::delete_one_with), and gives the document that was deleted.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::{DeleteOptions, PongoClient};
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// let jobs = client.collection::<Value>("jobs");
    /// jobs.insert_many(&[json!({"priority": 1}), json!({"priority": 7})])?;
    /// let most_urgent = DeleteOptions::new().sort(json!({"priority": -1}));
    /// let job = jobs.find_one_and_delete_with(json!({}), most_urgent)?;
    /// assert_eq!(job.ok_or("no job")?["priority"], 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As there; [`Error::InvalidInput`] for options that report a conflict, because there is no place for it.
    pub fn find_one_and_delete_with(
        &self,
        filter: impl Into<Filter>,
        options: DeleteOptions,
    ) -> Result<Option<T>> {
        options.refuse_report("find_one_and_delete")?;
        self.taken(|take| self.delete_first(&filter.into(), &options, Some(take)))
    }
}

//! Deleting documents.

use super::change::{Change, NewDocument};
use super::options::{DeleteOptions, ReturnDocument};
use super::outcome::Deleted;
use crate::pongo::collection::Collection;
use crate::pongo::error::Result;
use crate::pongo::filter::Filter;
use crate::pongo::statement::{StatementBuilder, StatementSql};
use serde::de::DeserializeOwned;

/// Locks the documents in the order of their ids first, so that two bulk writes cannot deadlock.
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

impl<T> Collection<'_, T> {
    /// Deletes one document that matches the filter: the first match that the server finds.
    ///
    /// # Errors
    /// Those of [`delete_one_with`](Collection::delete_one_with).
    pub fn delete_one(&self, filter: impl Into<Filter>) -> Result<Deleted> {
        self.delete_one_with(filter, DeleteOptions::new())
    }

    /// Deletes one document that matches the filter, with options.
    ///
    /// # Errors
    /// - [`Error::Filter`](crate::pongo::Error::Filter): the filter is invalid.
    /// - [`Error::Conflict`](crate::pongo::Error::Conflict): the document does not meet the options' expectation. Nothing is
    ///   deleted.
    pub fn delete_one_with(
        &self,
        filter: impl Into<Filter>,
        options: DeleteOptions,
    ) -> Result<Deleted> {
        let deleted = Change::new(
            "delete a document",
            filter.into(),
            NewDocument::Deleted,
            &options.0,
        )
        .run(self)?;
        Ok(Deleted {
            id: deleted.id.filter(|_| deleted.modified),
            conflict: deleted.conflict,
        })
    }

    /// Deletes all documents that match the filter. Returns their number. `json!({})` matches all documents.
    ///
    /// # Errors
    /// [`Error::Filter`](crate::pongo::Error::Filter) if the filter is invalid.
    pub fn delete_many(&self, filter: impl Into<Filter>) -> Result<u64> {
        let (table, filter) = (self.table()?, filter.into());
        let statement = StatementBuilder::new(table)
            .filter(&filter)?
            .build(&[DELETE_MANY]);
        self.write(|sql| statement.execute("delete documents", sql))
    }
}

impl<T: DeserializeOwned> Collection<'_, T> {
    /// Deletes one document that matches the filter, and returns it. Returns `None` if no document matches.
    ///
    /// # Errors
    /// Those of [`find_one_and_delete_with`](Collection::find_one_and_delete_with).
    pub fn find_one_and_delete(&self, filter: impl Into<Filter>) -> Result<Option<T>> {
        self.find_one_and_delete_with(filter, DeleteOptions::new())
    }

    /// Deletes one document like [`delete_one_with`](Collection::delete_one_with), and returns it.
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
    /// - Those of [`delete_one_with`](Collection::delete_one_with).
    /// - [`Error::Json`](crate::pongo::Error::Json): the document cannot be deserialized. Nothing is deleted.
    /// - [`Error::InvalidInput`](crate::pongo::Error::InvalidInput): the options report conflicts, for which the result has no
    ///   place.
    pub fn find_one_and_delete_with(
        &self,
        filter: impl Into<Filter>,
        options: DeleteOptions,
    ) -> Result<Option<T>> {
        let doing = "find and delete a document";
        Change::new(doing, filter.into(), NewDocument::Deleted, &options.0).find_and_run(
            "find_one_and_delete",
            ReturnDocument::Before,
            self,
        )
    }
}

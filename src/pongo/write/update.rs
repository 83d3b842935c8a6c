//! Updates of documents by operators.

use super::change::{CHANGE, Change, NewDocument, PICK, UPDATED_BEFORE};
use super::options::{ReturnDocument, UpdateOptions};
use super::outcome::{Updated, UpdatedMany};
use crate::database::position::get_u64;
use crate::pongo::collection::Collection;
use crate::pongo::error::Result;
use crate::pongo::filter::Filter;
use crate::pongo::statement::{StatementBuilder, StatementSql};
use crate::pongo::update::{Update, UpdatePhase};
use serde::de::DeserializeOwned;

/// The documents are locked in one order, so that two bulk updates cannot deadlock.
const IN_ONE_ORDER: &str = "ORDER BY _id COLLATE \"C\"";

const COUNTED: StatementSql = StatementSql::new(
    "
        RETURNING document._id
    )
    SELECT (SELECT count(*) FROM picked) AS matched, (SELECT count(*) FROM changed) AS modified",
);

impl<T> Collection<'_, T> {
    /// Updates one document that matches the filter: the first match that the server finds. See
    /// [`update_one_with`](Collection::update_one_with).
    ///
    /// # Errors
    /// Those of [`update_one_with`](Collection::update_one_with).
    pub fn update_one(
        &self,
        filter: impl Into<Filter>,
        update: impl Into<Update>,
    ) -> Result<Updated> {
        self.update_one_with(filter, update, UpdateOptions::new())
    }

    /// Updates one document that matches the filter, with options. The update is one statement: no other write can happen
    /// between the read and the write of the operators.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::{PongoClient, UpdateOptions};
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// let stock = client.collection::<Value>("stock");
    /// let sold = json!({"$inc": {"sold": 1}, "$push": {"buyers": "anna"}});
    /// let updated = stock.update_one_with(json!({"_id": "shoes"}), sold, UpdateOptions::new().upsert())?;
    /// assert!(updated.inserted);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Filter`](crate::pongo::Error::Filter): the filter is invalid.
    /// - [`Error::Update`](crate::pongo::Error::Update): the update is invalid.
    /// - [`Error::UpdateRefused`](crate::pongo::Error::UpdateRefused): an operator does not fit the document.
    /// - [`Error::Conflict`](crate::pongo::Error::Conflict): the document does not meet the options' expectation.
    ///
    /// Nothing is changed then.
    pub fn update_one_with(
        &self,
        filter: impl Into<Filter>,
        update: impl Into<Update>,
        options: UpdateOptions,
    ) -> Result<Updated> {
        let update = update.into();
        let document = NewDocument::Updated(&update);
        Change::new("update a document", filter.into(), document, &options).run(self)
    }

    /// Updates all documents that match the filter, or none.
    ///
    /// # Errors
    /// Those of [`update_one_with`](Collection::update_one_with).
    pub fn update_many(
        &self,
        filter: impl Into<Filter>,
        update: impl Into<Update>,
    ) -> Result<UpdatedMany> {
        let (filter, update) = (filter.into(), update.into());
        let mut builder = StatementBuilder::new(self.table()?).filter(&filter)?;
        let changed = builder.updated(&update, "picked.data", UpdatePhase::Change)?;
        let statement = builder
            .part("order", IN_ONE_ORDER)
            .part("limit", "")
            .part("changed", changed)
            .part("before", UPDATED_BEFORE)
            .part("expected", "TRUE")
            .part("keeps_id", "TRUE")
            .build(&[PICK, CHANGE, COUNTED]);
        let rows = self.write(|sql| statement.query("update documents", sql))?;
        let count = |column| rows.first().map_or(Ok(0), |row| get_u64(row, column));
        Ok(UpdatedMany {
            matched: count("matched")?,
            modified: count("modified")?,
        })
    }
}

impl<T: DeserializeOwned> Collection<'_, T> {
    /// Updates one document like [`update_one`](Collection::update_one), and returns it as it was before. Returns `None` if no
    /// document matches.
    ///
    /// # Errors
    /// Those of [`update_one_with`](Collection::update_one_with).
    pub fn find_one_and_update(
        &self,
        filter: impl Into<Filter>,
        update: impl Into<Update>,
    ) -> Result<Option<T>> {
        self.find_one_and_update_with(filter, update, ReturnDocument::Before, UpdateOptions::new())
    }

    /// Updates one document like [`update_one_with`](Collection::update_one_with), and returns its form before or after
    /// the change.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::{PongoClient, ReturnDocument, UpdateOptions};
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// let counters = client.collection::<Value>("counters");
    /// let next = counters.find_one_and_update_with(
    ///     json!({"_id": "invoice"}),
    ///     json!({"$inc": {"number": 1}}),
    ///     ReturnDocument::After,
    ///     UpdateOptions::new().upsert(),
    /// )?;
    /// assert_eq!(next.ok_or("upserted")?["number"], 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`update_one_with`](Collection::update_one_with). [`Error::InvalidInput`](crate::pongo::Error::InvalidInput) if
    /// the options report conflicts, for which the result has no place.
    pub fn find_one_and_update_with(
        &self,
        filter: impl Into<Filter>,
        update: impl Into<Update>,
        returned: ReturnDocument,
        options: UpdateOptions,
    ) -> Result<Option<T>> {
        let update = update.into();
        let document = NewDocument::Updated(&update);
        let doing = "find and update a document";
        Change::new(doing, filter.into(), document, &options).find_and_run(
            "find_one_and_update",
            returned,
            self,
        )
    }
}

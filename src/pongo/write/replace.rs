//! Replacements of whole documents.

use super::change::{Change, NewDocument};
use super::options::{ReturnDocument, UpdateOptions};
use super::outcome::Updated;
use crate::pongo::collection::Collection;
use crate::pongo::error::Result;
use crate::pongo::filter::Filter;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl<T: Serialize> Collection<'_, T> {
    /// Replaces one document that matches the filter: the first match that the server finds. The document keeps its id. See
    /// [`replace_one_with`](Collection::replace_one_with).
    ///
    /// # Errors
    /// Those of [`replace_one_with`](Collection::replace_one_with).
    pub fn replace_one(&self, filter: impl Into<Filter>, document: &T) -> Result<Updated> {
        self.replace_one_with(filter, document, UpdateOptions::new())
    }

    /// Replaces one document that matches the filter, with options. The document keeps its id.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::{PongoClient, UpdateOptions};
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// let notes = client.collection::<Value>("notes");
    /// let inserted = notes.insert_one(&json!({"text": "draft"}))?;
    /// let unchanged_since = UpdateOptions::new().expected_version(inserted.version);
    /// let updated = notes.replace_one_with(json!({"_id": inserted.id}), &json!({"text": "final"}), unchanged_since)?;
    /// assert_eq!(updated.version, Some(2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Filter`](crate::pongo::Error::Filter): the filter is invalid.
    /// - [`Error::InvalidInput`](crate::pongo::Error::InvalidInput): the new document has a different id than the matching one,
    ///   or operators as fields.
    /// - [`Error::Conflict`](crate::pongo::Error::Conflict): the matching document does not meet the options' expectation.
    pub fn replace_one_with(
        &self,
        filter: impl Into<Filter>,
        document: &T,
        options: UpdateOptions,
    ) -> Result<Updated> {
        let document = NewDocument::Replaced(self.encode(document)?.refuse_operators()?);
        Change::new("replace a document", filter.into(), document, &options).run(self)
    }
}

impl<T: Serialize + DeserializeOwned> Collection<'_, T> {
    /// Replaces one document like [`replace_one`](Collection::replace_one), and returns it as it was before. Returns `None` if
    /// no document matches.
    ///
    /// # Errors
    /// Those of [`replace_one_with`](Collection::replace_one_with).
    pub fn find_one_and_replace(
        &self,
        filter: impl Into<Filter>,
        document: &T,
    ) -> Result<Option<T>> {
        self.find_one_and_replace_with(
            filter,
            document,
            ReturnDocument::Before,
            UpdateOptions::new(),
        )
    }

    /// Replaces one document like [`replace_one_with`](Collection::replace_one_with), and returns its form before or
    /// after the change.
    ///
    /// # Errors
    /// Those of [`replace_one_with`](Collection::replace_one_with). [`Error::InvalidInput`](crate::pongo::Error::InvalidInput)
    /// if the options report conflicts, for which the result has no place.
    pub fn find_one_and_replace_with(
        &self,
        filter: impl Into<Filter>,
        document: &T,
        returned: ReturnDocument,
        options: UpdateOptions,
    ) -> Result<Option<T>> {
        let document = NewDocument::Replaced(self.encode(document)?.refuse_operators()?);
        let doing = "find and replace a document";
        Change::new(doing, filter.into(), document, &options).find_and_run(
            "find_one_and_replace",
            returned,
            self,
        )
    }
}

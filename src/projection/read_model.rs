//! Reads of a read model that fail unless it is complete.

use crate::pongo::{Collection, Filter, Find, ReadGuard, Result};
use serde::de::DeserializeOwned;

/// Checks the status in the snapshot of the statement that reads.
const REQUIRE_ACTIVE: ReadGuard = ReadGuard("emt_projection_require_active");

/// The documents of an active inline projection, which equal a fold over all stored events. Created by
/// [`Collection::only_if_active`].
///
/// Each read fails with [`NotActive`](crate::pongo::Error::NotActive) while the projection has any other
/// [status](crate::projection::ProjectionStatus). The reading statement checks the status in its own snapshot, so no
/// further round trip is needed. Here, an orphaned projection is reported as following.
#[derive(Debug)]
pub struct ReadModel<'a, T> {
    documents: Collection<'a, T>,
}

impl<'a, T> Collection<'a, T> {
    /// Restricts all reads to times when the inline projection of the same name is active.
    ///
    /// ```no_run
    /// # use emmett_postgresql::{Error, EventStore, pongo};
    /// # use serde_json::Value;
    /// # fn main() -> Result<(), Error> {
    /// # let store = EventStore::open("postgresql://localhost/shop")?;
    /// let carts = store.collection::<Value>("carts").only_if_active();
    /// match carts.find_by_id("Cart-1") {
    ///     Ok(cart) => println!("{cart:?}"),
    ///     Err(pongo::Error::NotActive { message, .. }) => println!("later: {message}"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn only_if_active(self) -> ReadModel<'a, T> {
        ReadModel {
            documents: self.guarded(REQUIRE_ACTIVE),
        }
    }
}

impl<T> ReadModel<'_, T> {
    /// Returns the number of documents that match the filter. See [`Collection::count_documents`].
    ///
    /// # Errors
    /// [`NotActive`](crate::pongo::Error::NotActive), and the errors of the collection's method.
    pub fn count_documents(&self, filter: impl Into<Filter>) -> Result<u64> {
        self.documents.count_documents(filter)
    }

    /// Returns whether any document matches the filter. See [`Collection::exists`].
    ///
    /// # Errors
    /// [`NotActive`](crate::pongo::Error::NotActive), and the errors of the collection's method.
    pub fn exists(&self, filter: impl Into<Filter>) -> Result<bool> {
        self.documents.exists(filter)
    }

    /// Returns the distinct values of a field. See [`Collection::distinct`].
    ///
    /// # Errors
    /// [`NotActive`](crate::pongo::Error::NotActive), and the errors of the collection's method.
    pub fn distinct<V: DeserializeOwned>(
        &self,
        path: &str,
        filter: impl Into<Filter>,
    ) -> Result<Vec<V>> {
        self.documents.distinct(path, filter)
    }
}

impl<'a, T: DeserializeOwned> ReadModel<'a, T> {
    /// Returns the document of this id, or `None`. See [`Collection::find_by_id`].
    ///
    /// # Errors
    /// [`NotActive`](crate::pongo::Error::NotActive), and the errors of the collection's method.
    pub fn find_by_id(&self, id: &str) -> Result<Option<T>> {
        self.documents.find_by_id(id)
    }

    /// Returns a document that matches the filter, or `None`. See [`Collection::find_one`].
    ///
    /// # Errors
    /// [`NotActive`](crate::pongo::Error::NotActive), and the errors of the collection's method.
    pub fn find_one(&self, filter: impl Into<Filter>) -> Result<Option<T>> {
        self.documents.find_one(filter)
    }

    /// Starts a query. See [`Collection::find`]. A cursor keeps reading the state that was active when it was opened.
    pub fn find(&self, filter: impl Into<Filter>) -> Find<'_, 'a, T> {
        self.documents.find(filter)
    }
}

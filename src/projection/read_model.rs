//! Reading a read model only while it is right.

use crate::pongo::{Collection, Filter, Find, ReadGuard, Result};
use serde::de::DeserializeOwned;

/// Looks in the snapshot of the statement that reads.
const REQUIRE_ACTIVE: ReadGuard = ReadGuard("emt_projection_require_active");

/// The documents of an inline projection that is active: then they equal a fold over all stored events. Begins with
/// [`Collection::only_if_active`].
///
/// Each read fails with [`NotActive`](crate::pongo::Error::NotActive) while the projection is in any other
/// [state](crate::projection::ProjectionStatus). The statement that reads the documents looks at the state, in one snapshot and without
/// another round trip. An orphaned projection is called following here.
#[derive(Debug)]
pub struct ReadModel<'a, T> {
    documents: Collection<'a, T>,
}

impl<'a, T> Collection<'a, T> {
    /// Reads only while the inline projection of the collection's name is active.
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
    /// How many documents match the filter: see [`Collection::count_documents`].
    ///
    /// # Errors
    /// [`NotActive`](crate::pongo::Error::NotActive); those of the collection's method.
    pub fn count_documents(&self, filter: impl Into<Filter>) -> Result<u64> {
        self.documents.count_documents(filter)
    }

    /// Whether a document matches the filter: see [`Collection::exists`].
    ///
    /// # Errors
    /// [`NotActive`](crate::pongo::Error::NotActive); those of the collection's method.
    pub fn exists(&self, filter: impl Into<Filter>) -> Result<bool> {
        self.documents.exists(filter)
    }

    /// The different values of a field: see [`Collection::distinct`].
    ///
    /// # Errors
    /// [`NotActive`](crate::pongo::Error::NotActive); those of the collection's method.
    pub fn distinct<V: DeserializeOwned>(
        &self,
        path: &str,
        filter: impl Into<Filter>,
    ) -> Result<Vec<V>> {
        self.documents.distinct(path, filter)
    }
}

impl<'a, T: DeserializeOwned> ReadModel<'a, T> {
    /// The document of this id, or `None`: see [`Collection::find_by_id`].
    ///
    /// # Errors
    /// [`NotActive`](crate::pongo::Error::NotActive); those of the collection's method.
    pub fn find_by_id(&self, id: &str) -> Result<Option<T>> {
        self.documents.find_by_id(id)
    }

    /// A document that matches the filter, or `None`: see [`Collection::find_one`].
    ///
    /// # Errors
    /// [`NotActive`](crate::pongo::Error::NotActive); those of the collection's method.
    pub fn find_one(&self, filter: impl Into<Filter>) -> Result<Option<T>> {
        self.documents.find_one(filter)
    }

    /// Begins a query: see [`Collection::find`]. A cursor reads the state that was active when it was opened.
    pub fn find(&self, filter: impl Into<Filter>) -> Find<'_, 'a, T> {
        self.documents.find(filter)
    }
}

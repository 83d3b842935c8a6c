//! The indexes of a collection: list, create and drop.

use super::Collection;
use crate::database::identifier;
use crate::pongo::document::check_name;
use crate::pongo::error::{Error, Result};
use crate::pongo::executor::Executor;
use crate::pongo::index::build::create_concurrently;
use crate::pongo::index::{Catalog, Index, IndexDescription};

impl<T> Collection<'_, T> {
    /// Returns the indexes of the collection, sorted by name. The index of the ids is not included.
    ///
    /// # Errors
    /// If the database query fails.
    pub fn indexes(&self) -> Result<Vec<IndexDescription>> {
        check_name(&self.name)?;
        self.executor.run(&self.name, true, |sql| {
            self.executor.require_tenant(sql)?;
            Catalog::new(sql, self.executor.schema(), &self.name).list()
        })
    }

    /// Creates an index. Returns false if it already exists.
    ///
    /// Writers wait until the index is built, unless it is built [concurrently](Index::concurrently). A concurrent build waits
    /// for transactions that were open before it. It never ends if the same thread holds an open
    /// [`cursor`](crate::pongo::read::Find::cursor).
    ///
    /// ```
    /// # use emmett_postgresql::pongo::{Index, PongoClient};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// let carts = client.collection::<serde_json::Value>("carts");
    /// assert!(carts.create_index(&Index::field("customerId"))?);
    /// assert_eq!(carts.indexes()?[0].name, "carts_customer_id_idx");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::IndexMismatch`]: a different object has the index's name.
    /// - [`Error::NotUnique`]: documents have equal values.
    /// - [`Error::InvalidInput`]: the index is invalid, or a concurrent build is requested inside a transaction.
    pub fn create_index(&self, index: &Index) -> Result<bool> {
        check_name(&self.name)?;
        index.check(&self.name)?;
        let schema = self.executor.schema();
        if !index.is_concurrent() {
            return self.executor.atomically(&self.name, |sql| {
                self.executor.require_tenant(sql)?;
                Catalog::new(sql, schema, &self.name).create(index)
            });
        }
        let Executor::Connections { connections, .. } = &self.executor else {
            return Err(Error::invalid(
                format!("index \"{}\"", index.name(&self.name)),
                "cannot be created concurrently inside a transaction",
            ));
        };
        // The table must exist first.
        self.executor.run(&self.name, true, |sql| {
            self.executor.require_tenant(sql)?;
            Catalog::new(sql, schema, &self.name).look(index)
        })?;
        create_concurrently(connections, schema, &self.name, index)
    }

    /// Drops an index. Returns false if the collection has no index of that name.
    ///
    /// The call waits for transactions that use the collection. It never returns if the same thread holds an open
    /// [`cursor`](crate::pongo::read::Find::cursor).
    ///
    /// # Errors
    /// - [`DatabaseError::Statement`](crate::database::DatabaseError::Statement): the index keeps the ids unique.
    /// - [`Error::InvalidInput`]: the name is invalid.
    pub fn drop_index(&self, name: &str) -> Result<bool> {
        check_name(&self.name)?;
        identifier::check("the index name", name)?;
        let schema = self.executor.schema();
        self.executor.atomically(&self.name, |sql| {
            self.executor.require_tenant(sql)?;
            let mut catalog = Catalog::new(sql, schema, &self.name);
            catalog.lock()?;
            catalog.drop(name)
        })
    }
}

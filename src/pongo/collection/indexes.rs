//! The indexes of a collection, as its users see them.

use super::Collection;
use crate::database::identifier;
use crate::pongo::document::check_name;
use crate::pongo::error::{Error, Result};
use crate::pongo::executor::Executor;
use crate::pongo::index::build::create_concurrently;
use crate::pongo::index::{Catalog, Index, IndexDescription};

impl<T> Collection<'_, T> {
    /// The indexes of the collection, by name; without that of the ids.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn indexes(&self) -> Result<Vec<IndexDescription>> {
        check_name(&self.name)?;
        self.executor.run(&self.name, true, |sql| {
            self.executor.require_tenant(sql)?;
            Catalog::new(sql, self.executor.schema(), &self.name).list()
        })
    }

    /// Creates an index; false when it exists.
    ///
    /// Writers wait until it is built, unless it is created [concurrently](Index::concurrently). Then it waits itself, for
    /// transactions that were open before; for one of a [`cursor`](crate::pongo::read::Find::cursor) in the same thread, for ever.
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
    /// [`Error::IndexMismatch`] when there is something else of its name, [`Error::NotUnique`] when documents have equal
    /// values, [`Error::InvalidInput`] when it makes no sense, or is to be created concurrently inside a transaction.
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
        // Its table has to be there first.
        self.executor.run(&self.name, true, |sql| {
            self.executor.require_tenant(sql)?;
            Catalog::new(sql, schema, &self.name).look(index)
        })?;
        create_concurrently(connections, schema, &self.name, index)
    }

    /// Drops an index; false when the collection has none of that name. Waits for transactions that use the collection; for
    /// one of a [`cursor`](crate::pongo::read::Find::cursor) in the same thread, for ever.
    ///
    /// # Errors
    /// [`DatabaseError::Statement`](crate::database::DatabaseError::Statement) for an index that keeps the ids apart,
    /// [`Error::InvalidInput`] for what cannot be a name.
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

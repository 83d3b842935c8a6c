//! Transactions of a client.

use crate::database::Transaction;
use crate::pongo::collection::Collection;
use crate::pongo::error::{Error, Result};
use crate::pongo::executor::{Executor, TransactionTables};
use std::ops::{Deref, DerefMut};

impl Transaction<'_> {
    /// Returns a collection of documents in this transaction. The collection borrows the transaction, so only one exists at a
    /// time. To copy documents to another collection, read with [`to_vec`](crate::pongo::read::Find::to_vec) instead of a
    /// cursor.
    ///
    /// The collection's table must exist. A [`PongoTransaction`] that may migrate creates it. A
    /// [`ProjectionContext`](crate::ProjectionContext) returns the collection of the new read model during a rebuild. Both do
    /// so in their own `collection` method, which a function on `Transaction` does not call.
    pub fn collection<T>(&mut self, name: &str) -> Collection<'_, T> {
        Collection::new(Executor::transaction(self.reborrow()), name)
    }
}

/// A [`Transaction`] over collections and custom SQL: all are committed together, or none.
///
/// [`PongoClient::with_transaction`](crate::pongo::PongoClient::with_transaction) commits when its closure succeeds.
pub struct PongoTransaction<'a> {
    transaction: Transaction<'a>,
    tables: TransactionTables,
}

impl std::fmt::Debug for PongoTransaction<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PongoTransaction")
            .field("partition", &self.transaction.partition())
            .finish_non_exhaustive()
    }
}

impl<'a> Deref for PongoTransaction<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.transaction
    }
}

impl<'a> DerefMut for PongoTransaction<'a> {
    fn deref_mut(&mut self) -> &mut Transaction<'a> {
        &mut self.transaction
    }
}

impl<'a> PongoTransaction<'a> {
    pub(crate) fn new(transaction: Transaction<'a>, tables: TransactionTables) -> Self {
        Self {
            transaction,
            tables,
        }
    }

    /// Returns a collection of documents in this transaction. Its first use creates its table, if the client may migrate.
    ///
    /// The collection borrows the transaction, so only one exists at a time. To copy documents to another collection, read with
    /// [`to_vec`](crate::pongo::read::Find::to_vec). A [`cursor`](crate::pongo::read::Find::cursor) keeps the transaction
    /// borrowed.
    ///
    /// ```
    /// # use emmett_postgresql::pongo::PongoClient;
    /// # use serde_json::{Value, json};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let client = PongoClient::connect(database.url())?;
    /// # client.collection("orders").insert_one(&json!({"paid": true}))?;
    /// client.with_transaction(|transaction| {
    ///     let paid = transaction.collection::<Value>("orders").find(json!({"paid": true})).to_vec()?;
    ///     transaction.collection("invoices").insert_many(&paid)?;
    ///     Ok(())
    /// })?;
    /// # assert_eq!(client.collection::<Value>("invoices").count_documents(json!({}))?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn collection<T>(&mut self, name: &str) -> Collection<'_, T> {
        let executor = Executor::creating(self.transaction.reborrow(), &self.tables);
        Collection::new(executor, name)
    }

    /// Runs the closure. An error of this crate keeps its type.
    pub(crate) fn run<T>(&mut self, run: impl FnOnce(&mut Self) -> anyhow::Result<T>) -> Result<T> {
        run(self).map_err(Error::of_closure)
    }

    /// Commits, and publishes the created tables to other executors.
    pub(crate) fn commit(self) -> Result<()> {
        self.transaction.commit()?;
        self.tables.committed();
        Ok(())
    }
}

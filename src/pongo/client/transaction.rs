//! Transactions of a client.

use crate::database::Transaction;
use crate::pongo::collection::Collection;
use crate::pongo::error::{Error, Result};
use crate::pongo::executor::{Executor, TransactionTables};
use std::ops::{Deref, DerefMut};

impl Transaction<'_> {
    /// A collection of documents, in this transaction. It borrows the transaction, so there is one at a time; to write to
    /// another what is read from it, read with [`to_vec`](crate::pongo::read::Find::to_vec) instead of a cursor.
    ///
    /// Its table has to be there. A [`PongoTransaction`] that may migrate creates it, and a
    /// [`ProjectionContext`](crate::ProjectionContext) gives that of the new read model during a rebuild: both by a method of
    /// their own, which a function that takes a `Transaction` does not call.
    pub fn collection<T>(&mut self, name: &str) -> Collection<'_, T> {
        Collection::new(Executor::transaction(self.reborrow()), name)
    }
}

/// A [`Transaction`] over collections and SQL of your own: committed together, or not at all.
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

    /// A collection of documents, in this transaction. Its table is created when it is first used, if the client may migrate.
    ///
    /// It borrows the transaction, so there is one at a time. To write to another collection what is read from this one, read
    /// with [`to_vec`](crate::pongo::read::Find::to_vec): a [`cursor`](crate::pongo::read::Find::cursor) keeps the transaction borrowed.
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

    /// Runs the closure; an error of this crate keeps its type.
    pub(crate) fn run<T>(&mut self, run: impl FnOnce(&mut Self) -> anyhow::Result<T>) -> Result<T> {
        run(self).map_err(Error::of_closure)
    }

    /// Commits, and tells others which tables are there now.
    pub(crate) fn commit(self) -> Result<()> {
        self.transaction.commit()?;
        self.tables.committed();
        Ok(())
    }
}

//! Transactions of a client.

use super::collection::Collection;
use super::error::{Error, Result};
use super::executor::{Executor, TransactionTables};
use crate::database::scope::Scope;
use crate::database::{self, Sql, refuse_async_context};
use postgres::Row;
use postgres::types::ToSql;

/// One transaction over collections and SQL of your own: committed together, or not at all.
///
/// [`PongoClient::with_transaction`](super::PongoClient::with_transaction) commits when its closure succeeds. It runs at READ
/// COMMITTED. After an error of the database it can only be rolled back.
pub struct PongoTransaction<'a> {
    sql: &'a mut dyn Sql,
    scope: Scope,
    tables: TransactionTables,
}

impl std::fmt::Debug for PongoTransaction<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PongoTransaction")
            .field("partition", &self.scope.partition)
            .finish_non_exhaustive()
    }
}

impl<'a> PongoTransaction<'a> {
    pub(super) fn new(sql: &'a mut dyn Sql, scope: Scope, tables: TransactionTables) -> Self {
        Self { sql, scope, tables }
    }

    /// A collection of documents, in this transaction. Its table is created when it is first used, if the client may migrate.
    ///
    /// It borrows the transaction, so there is one at a time. To write to another collection what is read from this one, read
    /// with [`to_vec`](super::Find::to_vec): a [`cursor`](super::Find::cursor) keeps the transaction borrowed.
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
        let home = Executor::creating(&mut *self.sql, &self.scope, &self.tables);
        Collection::new(home, name)
    }

    /// Runs a statement of your own in the transaction and returns the number of rows that it changed.
    ///
    /// # Errors
    /// [`DatabaseError::TransactionControl`](crate::DatabaseError::TransactionControl) for statements that would end the
    /// transaction, [`DatabaseError::Statement`](crate::DatabaseError::Statement) when it is refused.
    pub fn execute(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        Ok(database::execute(self.sql()?, sql, values)?)
    }

    /// Runs a query of your own in the transaction.
    ///
    /// # Errors
    /// Like [`execute`](PongoTransaction::execute).
    pub fn query(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        Ok(database::query(self.sql()?, sql, values)?)
    }

    fn sql(&mut self) -> Result<&mut dyn Sql> {
        refuse_async_context()?;
        Ok(&mut *self.sql)
    }

    /// Runs the closure; an error of this crate keeps its type.
    pub(super) fn run<T>(&mut self, run: impl FnOnce(&mut Self) -> anyhow::Result<T>) -> Result<T> {
        run(self).map_err(Error::of_closure)
    }

    /// What others may know of it once it is committed.
    pub(super) fn into_tables(self) -> TransactionTables {
        self.tables
    }
}

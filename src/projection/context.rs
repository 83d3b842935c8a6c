//! What a projection or a session's user may do inside the transaction.

use crate::connection::{Sql, abort, refuse_transaction_control};
use crate::error::{Error, Result};
use crate::partition::Partition;
use crate::pongo::{Collection, CollectionHome};
use postgres::Row;
use postgres::types::ToSql;

/// The transaction that a projection writes in.
///
/// Everything that is done here is committed with the append, or not at all. The transaction cannot be ended from here:
/// `COMMIT` and `ROLLBACK` are refused, and the append fails.
pub struct ProjectionContext<'a> {
    sql: &'a mut dyn Sql,
    partition: &'a Partition,
}

impl std::fmt::Debug for ProjectionContext<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ProjectionContext")
            .field("partition", &self.partition.name)
            .finish_non_exhaustive()
    }
}

impl<'a> ProjectionContext<'a> {
    pub(crate) fn new(sql: &'a mut dyn Sql, partition: &'a Partition) -> Self {
        Self { sql, partition }
    }

    /// The partition (tenant) whose messages are handled. A table of your own needs a column for it, if the store has
    /// tenants.
    pub fn partition(&self) -> &str {
        &self.partition.name
    }

    /// Runs a statement and returns the number of rows that it changed.
    ///
    /// # Errors
    /// When the database refuses it. The transaction cannot be committed after that.
    pub fn execute(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        execute(self.sql, sql, values)
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    /// Like [`execute`](ProjectionContext::execute).
    pub fn query(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        query(self.sql, sql, values)
    }

    /// Runs several statements without parameters, separated by semicolons.
    ///
    /// # Errors
    /// Like [`execute`](ProjectionContext::execute).
    pub fn batch_execute(&mut self, sql: &str) -> Result<()> {
        batch_execute(self.sql, sql)
    }

    /// A collection of documents, in this transaction.
    pub fn collection<T>(&mut self, name: &str) -> Collection<'_, T> {
        Collection::new(
            CollectionHome::transaction(&mut *self.sql, self.partition),
            name,
        )
    }

    pub(crate) fn sql(&mut self) -> &mut dyn Sql {
        self.sql
    }

    pub(crate) fn schema(&self) -> &'a str {
        &self.partition.schema
    }
}

pub(crate) fn execute(
    sql: &mut dyn Sql,
    text: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<u64> {
    refuse(sql, text)?;
    sql.execute_untyped(text, values)
        .map_err(|source| Error::database("run a statement", source))
}

pub(crate) fn query(
    sql: &mut dyn Sql,
    text: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>> {
    refuse(sql, text)?;
    sql.query_untyped(text, values)
        .map_err(|source| Error::database("run a query", source))
}

pub(crate) fn batch_execute(sql: &mut dyn Sql, text: &str) -> Result<()> {
    refuse(sql, text)?;
    sql.batch(text)
        .map_err(|source| Error::database("run statements", source))
}

/// Refuses SQL that would end the transaction. Whoever tries that cannot commit any more, even by ignoring the refusal.
fn refuse(sql: &mut dyn Sql, text: &str) -> Result<()> {
    refuse_transaction_control(text).inspect_err(|_| abort(sql))
}

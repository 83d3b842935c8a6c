//! The transaction that user code may use, of one type for every source.

use super::error::{DatabaseError, Result};
use super::lazy_transaction::LazyTransaction;
use super::pool::refuse_async_context;
use super::pooled_transaction::PooledTransaction;
use super::savepoint::{abort, check_open};
use super::scope::Scope;
use super::sql::Sql;
use super::transaction_control::refuse_transaction_control;
use postgres::Row;
use postgres::types::ToSql;

/// A transaction for your own SQL and [collections](Transaction::collection) of documents.
///
/// [`Session`](crate::Session), [`ReactorContext`](crate::ReactorContext), [`ProjectionContext`](crate::ProjectionContext)
/// and [`PongoTransaction`](crate::pongo::PongoTransaction) dereference to it. A function that takes a transaction works
/// with all four:
///
/// ```
/// use emmett_postgresql::{EventStore, RawEvent, Transaction, database::DatabaseError};
///
/// fn note(transaction: &mut Transaction<'_>, text: &str) -> Result<u64, DatabaseError> {
///     transaction.execute("INSERT INTO notes (text) VALUES ($1)", &[&text])
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let database = emmett_postgresql::testing::database()?;
/// # let url = database.url();
/// let store = EventStore::open(url)?;
/// store.with_session(|session| {
///     session.batch_execute("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)")?;
///     session.append_to_stream("Order-1", &[RawEvent::new("Placed", 1.into())])?;
///     note(session, "order 1 was placed")?;
///     Ok(())
/// })?;
/// # let notes = store.with_session(|session| Ok(session.query("SELECT text FROM notes", &[])?))?;
/// # assert_eq!(notes.len(), 1);
/// # Ok(())
/// # }
/// ```
///
/// It runs at READ COMMITTED, unless it is the caller's own transaction. No statement can end it: `COMMIT`, `ROLLBACK` and
/// the like are refused with [`DatabaseError::TransactionControl`]. After such a refusal, or after a statement that the
/// database refuses, it can only be rolled back.
pub struct Transaction<'a> {
    state: State<'a>,
    scope: Scope,
}

enum State<'a> {
    Pooled(PooledTransaction),
    /// Begins with its first statement.
    Lazy(&'a mut LazyTransaction),
    /// The caller's transaction, or a part of another one.
    Borrowed(&'a mut dyn Sql),
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Transaction")
            .field("partition", &self.scope.partition)
            .finish_non_exhaustive()
    }
}

impl Transaction<'_> {
    /// Returns the partition (tenant) of the transaction. Your own tables need a column for it if the store has tenants.
    pub fn partition(&self) -> &str {
        &self.scope.partition
    }

    /// Runs your own statement and returns the number of rows that it changed.
    ///
    /// # Errors
    /// - [`DatabaseError::TransactionControl`] for a statement that would end the transaction.
    /// - [`DatabaseError::AsyncContext`] inside an async task.
    /// - [`DatabaseError::Statement`] if the database refuses the statement.
    ///
    /// After the first and the last of them, the transaction cannot be committed.
    pub fn execute(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, DatabaseError> {
        self.checked(sql)?
            .execute_untyped(sql, values)
            .map_err(|source| DatabaseError::statement("run a statement", source))
    }

    /// Runs your own query and returns its rows.
    ///
    /// # Errors
    /// Like [`execute`](Transaction::execute).
    pub fn query(
        &mut self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        self.checked(sql)?
            .query_untyped(sql, values)
            .map_err(|source| DatabaseError::statement("run a query", source))
    }

    /// Runs several statements without parameters, separated by semicolons, in one round trip.
    ///
    /// # Errors
    /// Like [`execute`](Transaction::execute).
    pub fn batch_execute(&mut self, sql: &str) -> Result<(), DatabaseError> {
        self.checked(sql)?
            .batch(sql)
            .map_err(|source| DatabaseError::statement("run statements", source))
    }

    /// Returns the connection for a user's statement. Refuses a statement that would end the transaction, and aborts the
    /// transaction. A caller that ignores the refusal must not be able to commit.
    fn checked(&mut self, statement: &str) -> Result<&mut dyn Sql> {
        let sql = self.sql()?;
        if let Err(refusal) = refuse_transaction_control(statement) {
            abort(sql);
            return Err(refusal);
        }
        Ok(sql)
    }
}

impl<'a> Transaction<'a> {
    pub(crate) fn pooled(transaction: PooledTransaction, scope: Scope) -> Self {
        Self::new(State::Pooled(transaction), scope)
    }

    pub(crate) fn lazy(transaction: &'a mut LazyTransaction, scope: Scope) -> Self {
        Self::new(State::Lazy(transaction), scope)
    }

    pub(crate) fn borrowed(sql: &'a mut dyn Sql, scope: Scope) -> Self {
        Self::new(State::Borrowed(sql), scope)
    }

    fn new(state: State<'a>, scope: Scope) -> Self {
        Self { state, scope }
    }

    /// Returns the same transaction for a shorter lifetime. Does not begin it.
    pub(crate) fn reborrow(&mut self) -> Transaction<'_> {
        let state = match &mut self.state {
            State::Pooled(transaction) => State::Borrowed(transaction.sql()),
            State::Lazy(transaction) => State::Lazy(transaction),
            State::Borrowed(sql) => State::Borrowed(&mut **sql),
        };
        Transaction::new(state, self.scope.clone())
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the connection, inside the transaction.
    pub(crate) fn sql(&mut self) -> Result<&mut dyn Sql> {
        // A transaction may have been moved into an async task.
        refuse_async_context()?;
        match &mut self.state {
            State::Pooled(transaction) => Ok(transaction.sql()),
            State::Lazy(transaction) => transaction.sql(),
            State::Borrowed(sql) => Ok(&mut **sql),
        }
    }

    /// Commits. For a transaction that others commit, only checks that it can be committed.
    pub(crate) fn commit(mut self) -> Result<()> {
        refuse_async_context()?;
        match self.state {
            State::Pooled(transaction) => transaction.commit(),
            State::Lazy(_) | State::Borrowed(_) => check_open(self.sql()?),
        }
    }

    /// Rolls back. A transaction that others began is left to them.
    pub(crate) fn rollback(self) -> Result<()> {
        refuse_async_context()?;
        match self.state {
            State::Pooled(transaction) => transaction.rollback(),
            State::Lazy(_) | State::Borrowed(_) => Ok(()),
        }
    }
}

//! Sessions: several operations in one transaction.

use crate::database::{self, Nested, Sql, Transaction, abort, check_open, refuse_async_context};
use crate::error::{Error, Result};
use crate::events::event::Event;
use crate::events::message::{Appendable, Recorded, RecordedMessage};
use crate::events::partition::Partition;
use crate::events::stream::append_options::{AppendOptions, StreamMessages};
use crate::events::stream::stream_read::{Aggregate, StreamRead};
use crate::events::stream::{self, Appended, ReadOptions, Stored, StreamAppend};
use crate::events::wakeup::Wakeups;
use crate::pongo::{Collection, Executor};
use crate::projection::InlineProjections;
use postgres::Row;
use postgres::types::ToSql;
use std::sync::Arc;

/// One transaction over streams, inline projections, documents and SQL of your own.
///
/// Everything in it is committed together, or not at all. [`EventStore::with_session`](crate::EventStore::with_session)
/// commits when its closure succeeds; [`EventStore::begin`](crate::EventStore::begin) leaves it to the caller; a session
/// that is dropped is rolled back. It runs at READ COMMITTED.
///
/// A refused append ([`Error::Conflict`], [`Error::StreamArchived`]) stores nothing and leaves the session usable. After an
/// error of the database or of a projection it can only be rolled back; [`nested`](Session::nested) limits that to a part of
/// it.
pub struct Session<'a> {
    transaction: Home<'a>,
    partition: Arc<Partition>,
    projections: InlineProjections,
    /// How many messages its commit makes visible.
    appended: usize,
}

enum Home<'a> {
    Own {
        transaction: Transaction,
        wakeups: Wakeups,
    },
    /// The caller's transaction, or a part of a session.
    Borrowed(&'a mut dyn Sql),
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("partition", &self.partition.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Session<'a> {
    pub(crate) fn own(
        transaction: Transaction,
        partition: Arc<Partition>,
        projections: InlineProjections,
        wakeups: Wakeups,
    ) -> Self {
        Self {
            transaction: Home::Own {
                transaction,
                wakeups,
            },
            partition,
            projections,
            appended: 0,
        }
    }

    pub(crate) fn borrowed(
        sql: &'a mut dyn Sql,
        partition: Arc<Partition>,
        projections: InlineProjections,
    ) -> Self {
        Self {
            transaction: Home::Borrowed(sql),
            partition,
            projections,
            appended: 0,
        }
    }

    pub(crate) fn sql(&mut self) -> Result<&mut dyn Sql> {
        // A session may have been moved into an async task.
        refuse_async_context()?;
        Ok(match &mut self.transaction {
            Home::Own { transaction, .. } => transaction.sql(),
            Home::Borrowed(sql) => *sql,
        })
    }

    /// Commits. Only a session of [`EventStore::begin`](crate::EventStore::begin) can be given away like this.
    ///
    /// # Errors
    /// [`DatabaseError::TransactionAborted`](crate::DatabaseError::TransactionAborted) when a statement failed before,
    /// [`DatabaseError::UnknownOutcome`](crate::DatabaseError::UnknownOutcome) when the connection was lost meanwhile,
    /// [`DatabaseError::Statement`](crate::DatabaseError::Statement) when a deferred constraint refuses. Nothing is stored,
    /// but after an unknown outcome.
    pub fn commit(self) -> Result<()> {
        refuse_async_context()?;
        match self.transaction {
            Home::Own {
                transaction,
                wakeups,
            } => {
                transaction.commit()?;
                if self.appended > 0 {
                    wakeups.appended(&self.partition.name, self.appended);
                }
                Ok(())
            }
            Home::Borrowed(sql) => Ok(check_open(sql)?),
        }
    }

    /// Rolls back. Dropping the session does the same, but cannot report an error.
    ///
    /// # Errors
    /// When the connection is lost; the server rolls back then, too.
    pub fn rollback(self) -> Result<()> {
        refuse_async_context()?;
        match self.transaction {
            Home::Own { transaction, .. } => Ok(transaction.rollback()?),
            Home::Borrowed(_) => Ok(()),
        }
    }

    /// Like [`EventStore::append_to_stream`](crate::EventStore::append_to_stream).
    ///
    /// # Errors
    /// As there.
    pub fn append_to_stream<A: Appendable>(
        &mut self,
        stream: &str,
        messages: &[A],
    ) -> Result<Appended> {
        self.append_to_stream_with(stream, messages, AppendOptions::new())
    }

    /// Like [`EventStore::append_to_stream_with`](crate::EventStore::append_to_stream_with).
    ///
    /// # Errors
    /// As there.
    pub fn append_to_stream_with<A: Appendable>(
        &mut self,
        stream: &str,
        messages: &[A],
        options: AppendOptions,
    ) -> Result<Appended> {
        self.append(&options.prepare(stream, messages)?)
    }

    /// Like [`EventStore::append_to_streams`](crate::EventStore::append_to_streams).
    ///
    /// # Errors
    /// As there.
    pub fn append_to_streams(&mut self, streams: Vec<StreamMessages>) -> Result<Vec<Appended>> {
        let appends: Vec<StreamAppend> = streams.into_iter().map(|stream| stream.0).collect();
        self.append_all(&appends)
    }

    pub(crate) fn append(&mut self, append: &StreamAppend) -> Result<Appended> {
        let (partition, projections) = (Arc::clone(&self.partition), self.projections.clone());
        let stored = stream::append(self.sql()?, &partition, append, projections.versions())?;
        self.appended += stored.newly_appended();
        self.project(append, &stored)?;
        Ok(stored.into())
    }

    pub(crate) fn append_all(&mut self, appends: &[StreamAppend]) -> Result<Vec<Appended>> {
        if appends.is_empty() {
            return Ok(Vec::new());
        }
        let (partition, projections) = (Arc::clone(&self.partition), self.projections.clone());
        let stored =
            stream::append_to_streams(self.sql()?, &partition, appends, projections.versions())?;
        self.appended += stored.iter().map(Stored::newly_appended).sum::<usize>();
        // All messages at once: a document that several streams write is folded and written once.
        let mut messages = Vec::new();
        if !projections.is_empty() {
            for (append, stored) in appends.iter().zip(&stored) {
                if !stored.already_appended {
                    messages.extend(append.recorded(stored));
                }
            }
            messages.sort_unstable_by_key(|message| message.global_position);
        }
        self.hand_over(&messages)?;
        Ok(stored.into_iter().map(Appended::from).collect())
    }

    fn project(&mut self, append: &StreamAppend, stored: &Stored) -> Result<()> {
        if self.projections.is_empty() || stored.already_appended {
            return Ok(());
        }
        self.hand_over(&append.recorded(stored))
    }

    /// Hands stored messages to the projections. Where one fails, the session must not be committed with the messages
    /// alone, even if the caller goes on.
    fn hand_over(&mut self, messages: &[RecordedMessage]) -> Result<()> {
        let (partition, projections) = (Arc::clone(&self.partition), self.projections.clone());
        let handled = projections.handle(self.sql()?, &partition, messages);
        if handled.is_err() {
            abort(self.sql()?);
        }
        handled
    }

    /// Like [`EventStore::read_stream`](crate::EventStore::read_stream); sees what the session has appended.
    ///
    /// # Errors
    /// As there.
    pub fn read_stream<E: Event>(&mut self, stream: &str) -> Result<StreamRead<E>> {
        self.read_stream_with(stream, ReadOptions::new())
    }

    /// Like [`EventStore::read_stream_with`](crate::EventStore::read_stream_with); sees what the session has appended.
    ///
    /// # Errors
    /// As there.
    pub fn read_stream_with<E: Event>(
        &mut self,
        stream: &str,
        options: ReadOptions,
    ) -> Result<StreamRead<E>> {
        let partition = Arc::clone(&self.partition);
        StreamRead::read(self.sql()?, &partition, stream, &options)
    }

    /// Like [`EventStore::aggregate_stream`](crate::EventStore::aggregate_stream); sees what the session has appended.
    ///
    /// # Errors
    /// As there.
    pub fn aggregate_stream<S, E: Event>(
        &mut self,
        stream: &str,
        initial: impl FnOnce() -> S,
        mut evolve: impl FnMut(S, E) -> S,
    ) -> Result<Aggregate<S>> {
        let partition = Arc::clone(&self.partition);
        let fold = |state, recorded: Recorded<E>| evolve(state, recorded.event);
        Aggregate::read(
            self.sql()?,
            &partition,
            stream,
            &ReadOptions::new(),
            initial,
            fold,
        )
    }

    /// Whether a stream exists and is not archived; sees what the session has appended.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn stream_exists(&mut self, stream: &str) -> Result<bool> {
        let partition = Arc::clone(&self.partition);
        Ok(stream::version(self.sql()?, &partition, stream)?.is_some())
    }

    /// A collection of documents, in this transaction. It borrows the session, so there is one at a time; to write to another
    /// what is read from it, read with [`to_vec`](crate::pongo::Find::to_vec) instead of a cursor.
    pub fn collection<T>(&mut self, name: &str) -> Collection<'_, T> {
        let partition: &Partition = &self.partition;
        let sql = match &mut self.transaction {
            Home::Own { transaction, .. } => transaction.sql(),
            Home::Borrowed(sql) => *sql,
        };
        Collection::new(
            Executor::transaction(sql, &partition.schema, &partition.name),
            name,
        )
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
    /// Like [`execute`](Session::execute).
    pub fn query(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        Ok(database::query(self.sql()?, sql, values)?)
    }

    /// Runs several statements without parameters, separated by semicolons, in the transaction.
    ///
    /// # Errors
    /// Like [`execute`](Session::execute).
    pub fn batch_execute(&mut self, sql: &str) -> Result<()> {
        Ok(database::batch_execute(self.sql()?, sql)?)
    }

    /// Runs a part of the session that can fail alone: what it did is taken back then, and the session goes on.
    ///
    /// # Errors
    /// What the closure returned: an [`Error`] as it is, another error as [`Error::Session`].
    pub fn nested<T>(
        &mut self,
        run: impl FnOnce(&mut Session<'_>) -> anyhow::Result<T>,
    ) -> Result<T> {
        let (partition, projections) = (Arc::clone(&self.partition), self.projections.clone());
        let mut nested = Nested::begin(self.sql()?)?;
        let mut session = Session::borrowed(nested.sql(), partition, projections);
        let done = run_in(&mut session, run)?;
        let appended = session.appended;
        nested.release()?;
        self.appended += appended;
        Ok(done)
    }
}

/// Runs a session's closure; an error of this crate keeps its type.
pub(crate) fn run_in<'s, T>(
    session: &mut Session<'s>,
    run: impl FnOnce(&mut Session<'s>) -> anyhow::Result<T>,
) -> Result<T> {
    run(session).map_err(Error::of_closure)
}

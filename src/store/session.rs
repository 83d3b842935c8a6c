//! Sessions: several operations in one transaction.

use crate::database::{Nested, Transaction, abort};
use crate::error::{Error, Result};
use crate::events::{
    Aggregate, AppendOptions, Appendable, Appended, CommandKey, Event, Partition, ReadOptions,
    Recorded, RecordedMessage, Snapshot, Stored, StreamAppend, StreamMessages, StreamRead, stream,
};
use crate::projection::InlineProjections;
use crate::store::after_commit::{AfterCommit, Committed};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A [`Transaction`] with streams and inline projections, beside documents and your own SQL.
///
/// All its writes are committed together or not at all. [`EventStore::with_session`](crate::EventStore::with_session)
/// commits if its closure succeeds. After [`EventStore::begin`](crate::EventStore::begin), the caller commits. Dropping a
/// session rolls it back.
///
/// A refused append ([`Error::Conflict`], [`Error::StreamArchived`]) stores nothing, and the session stays usable. After an
/// error of the database or of a projection, it can only be rolled back. [`nested`](Session::nested) limits the rollback to
/// a part of the session.
pub struct Session<'a> {
    transaction: Transaction<'a>,
    partition: Arc<Partition>,
    projections: InlineProjections,
    /// The message that the session answers: the cause of its appends.
    cause: Option<&'a RecordedMessage>,
    /// Acts after the commit; `None` if another owner commits.
    committed: Option<Committed>,
    after_commit: AfterCommit,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("partition", &self.partition.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Deref for Session<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.transaction
    }
}

impl<'a> DerefMut for Session<'a> {
    fn deref_mut(&mut self) -> &mut Transaction<'a> {
        &mut self.transaction
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        transaction: Transaction<'a>,
        partition: Arc<Partition>,
        projections: InlineProjections,
    ) -> Self {
        Self {
            transaction,
            partition,
            projections,
            cause: None,
            committed: None,
            after_commit: AfterCommit::default(),
        }
    }

    /// Returns the session with a commit that wakes consumers and writes snapshots.
    pub(crate) fn acting(mut self, committed: Committed) -> Self {
        self.committed = Some(committed);
        self
    }

    /// Returns the session as the answer to a message.
    pub(crate) fn caused_by(mut self, cause: &'a RecordedMessage) -> Self {
        self.cause = Some(cause);
        self
    }

    pub(crate) fn shared_partition(&self) -> Arc<Partition> {
        Arc::clone(&self.partition)
    }

    /// Takes what is to be done after the commit of another owner.
    pub(crate) fn take_after_commit(&mut self) -> AfterCommit {
        std::mem::take(&mut self.after_commit)
    }

    pub(crate) fn keep_snapshots(&mut self, snapshots: Vec<Snapshot>) {
        self.after_commit.snapshots.extend(snapshots);
    }

    /// Commits. Only a session from [`EventStore::begin`](crate::EventStore::begin) is owned by the caller and can be
    /// committed this way.
    ///
    /// # Errors
    /// - [`DatabaseError::TransactionAborted`](crate::database::DatabaseError::TransactionAborted) if an earlier statement
    ///   failed.
    /// - [`DatabaseError::Statement`](crate::database::DatabaseError::Statement) if a deferred constraint is violated.
    /// - [`DatabaseError::UnknownOutcome`](crate::database::DatabaseError::UnknownOutcome) if the connection was lost during
    ///   the commit.
    ///
    /// Nothing is stored, except that the outcome is unknown after the last one.
    pub fn commit(self) -> Result<()> {
        self.transaction.commit()?;
        if let Some(committed) = self.committed {
            committed.act(&self.partition, &self.projections, self.after_commit);
        } else if self.after_commit.is_followed {
            self.projections.wake_follower();
        }
        Ok(())
    }

    /// Rolls back. Dropping the session also rolls back, but cannot report an error.
    ///
    /// # Errors
    /// If the connection is lost; the server then rolls back as well.
    pub fn rollback(self) -> Result<()> {
        Ok(self.transaction.rollback()?)
    }

    /// Like [`EventStore::append_to_stream`](crate::EventStore::append_to_stream).
    ///
    /// # Errors
    /// The errors of [`EventStore::append_to_stream`](crate::EventStore::append_to_stream).
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
    /// The errors of [`EventStore::append_to_stream_with`](crate::EventStore::append_to_stream_with).
    pub fn append_to_stream_with<A: Appendable>(
        &mut self,
        stream: &str,
        messages: &[A],
        options: AppendOptions,
    ) -> Result<Appended> {
        let options = match self.cause {
            Some(cause) => options.caused_by(cause)?,
            None => options,
        };
        self.append(&options.prepare(stream, messages)?)
    }

    /// Like [`EventStore::append_to_streams`](crate::EventStore::append_to_streams).
    ///
    /// # Errors
    /// The errors of [`EventStore::append_to_streams`](crate::EventStore::append_to_streams).
    pub fn append_to_streams(&mut self, streams: Vec<StreamMessages>) -> Result<Vec<Appended>> {
        let appends = streams.into_iter().map(|stream| stream.0).collect();
        let appends = self.with_causes(appends)?;
        self.append_all(&appends)
    }

    /// The appends as those of the message that the session answers.
    pub(crate) fn with_causes(&self, appends: Vec<StreamAppend>) -> Result<Vec<StreamAppend>> {
        appends
            .into_iter()
            .map(|append| self.with_cause(append))
            .collect()
    }

    fn with_cause(&self, append: StreamAppend) -> Result<StreamAppend> {
        match self.cause {
            Some(cause) => append.caused_by(cause),
            None => Ok(append),
        }
    }

    pub(crate) fn append(&mut self, append: &StreamAppend) -> Result<Appended> {
        let (partition, projections) = (Arc::clone(&self.partition), self.projections.clone());
        let stored = stream::append(self.sql()?, &partition, append, projections.versions())?;
        self.after_commit.appended += stored.newly_appended();
        self.after_commit.is_followed |= stored.is_followed;
        if !stored.projections.is_empty() {
            let recorded = append.recorded(&stored);
            self.hand_over(|name| {
                if stored.runs(name) {
                    recorded.iter().collect()
                } else {
                    Vec::new()
                }
            })?;
        }
        Ok(stored.into())
    }

    pub(crate) fn append_all(&mut self, appends: &[StreamAppend]) -> Result<Vec<Appended>> {
        if appends.is_empty() {
            return Ok(Vec::new());
        }
        let (partition, projections) = (Arc::clone(&self.partition), self.projections.clone());
        let stored =
            stream::append_to_streams(self.sql()?, &partition, appends, projections.versions())?;
        self.project(appends, stored)
    }

    /// `None` where the key is taken.
    pub(crate) fn append_all_under_key(
        &mut self,
        appends: &[StreamAppend],
        key: &CommandKey,
        reply: &[u8],
    ) -> Result<Option<Vec<Appended>>> {
        let (partition, projections) = (Arc::clone(&self.partition), self.projections.clone());
        let versions = projections.versions();
        let stored =
            stream::append_under_key(self.sql()?, &partition, appends, key, reply, versions)?;
        stored
            .map(|stored| self.project(appends, stored))
            .transpose()
    }

    /// Counts what was stored, and hands it to the inline projections.
    fn project(&mut self, appends: &[StreamAppend], stored: Vec<Stored>) -> Result<Vec<Appended>> {
        self.after_commit.appended += stored.iter().map(Stored::newly_appended).sum::<usize>();
        self.after_commit.is_followed |= stored.iter().any(|stored| stored.is_followed);
        let recorded: Vec<(&Stored, Vec<RecordedMessage>)> = appends
            .iter()
            .zip(&stored)
            .filter(|(_, stored)| !stored.projections.is_empty())
            .map(|(append, stored)| (stored, append.recorded(stored)))
            .collect();
        // All messages at once: a document that several streams write is folded and written once.
        self.hand_over(|name| {
            let mut messages: Vec<&RecordedMessage> = recorded
                .iter()
                .filter(|(stored, _)| stored.runs(name))
                .flat_map(|(_, messages)| messages)
                .collect();
            messages.sort_unstable_by_key(|message| message.global_position);
            messages
        })?;
        drop(recorded);
        Ok(stored.into_iter().map(Appended::from).collect())
    }

    /// Passes the stored messages to each projection. After a failure, the session must not commit the messages alone, even
    /// if the caller continues.
    fn hand_over<'m>(
        &mut self,
        messages_of: impl Fn(&str) -> Vec<&'m RecordedMessage>,
    ) -> Result<()> {
        let (partition, projections) = (Arc::clone(&self.partition), self.projections.clone());
        let handled = projections.handle(self.sql()?, &partition, messages_of);
        if handled.is_err() {
            abort(self.sql()?);
        }
        handled
    }

    /// Like [`EventStore::read_stream`](crate::EventStore::read_stream), including the session's own appends.
    ///
    /// # Errors
    /// The errors of [`EventStore::read_stream`](crate::EventStore::read_stream).
    pub fn read_stream<E: Event>(&mut self, stream: &str) -> Result<StreamRead<E>> {
        self.read_stream_with(stream, ReadOptions::new())
    }

    /// Like [`EventStore::read_stream_with`](crate::EventStore::read_stream_with), including the session's own appends.
    ///
    /// # Errors
    /// The errors of [`EventStore::read_stream_with`](crate::EventStore::read_stream_with).
    pub fn read_stream_with<E: Event>(
        &mut self,
        stream: &str,
        options: ReadOptions,
    ) -> Result<StreamRead<E>> {
        let partition = Arc::clone(&self.partition);
        StreamRead::read(self.sql()?, &partition, stream, &options)
    }

    /// Like [`EventStore::aggregate_stream`](crate::EventStore::aggregate_stream), including the session's own appends.
    ///
    /// # Errors
    /// The errors of [`EventStore::aggregate_stream`](crate::EventStore::aggregate_stream).
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

    /// Whether a stream exists and is not archived, including the session's own appends.
    ///
    /// # Errors
    /// If the database cannot be queried.
    pub fn stream_exists(&mut self, stream: &str) -> Result<bool> {
        let partition = Arc::clone(&self.partition);
        Ok(stream::version(self.sql()?, &partition, stream)?.is_some())
    }

    /// Runs a part of the session that can fail alone: after a failure, its writes are undone and the session continues.
    ///
    /// # Errors
    /// The closure's error: an [`Error`] unchanged, any other error as [`Error::Session`].
    pub fn nested<T>(
        &mut self,
        run: impl FnOnce(&mut Session<'_>) -> anyhow::Result<T>,
    ) -> Result<T> {
        let (partition, projections) = (Arc::clone(&self.partition), self.projections.clone());
        let (scope, cause) = (self.scope().clone(), self.cause);
        let mut nested = Nested::begin(self.sql()?)?;
        let part = Transaction::borrowed(nested.sql(), scope);
        let mut session = Session::new(part, partition, projections);
        session.cause = cause;
        let done = run_in(&mut session, run)?;
        let after_commit = session.take_after_commit();
        nested.release()?;
        self.after_commit.add(after_commit);
        Ok(done)
    }
}

/// Runs a session's closure. An error of this crate keeps its type.
pub(crate) fn run_in<'s, T>(
    session: &mut Session<'s>,
    run: impl FnOnce(&mut Session<'s>) -> anyhow::Result<T>,
) -> Result<T> {
    run(session).map_err(Error::of_closure)
}

//! Execution of decisions: read, decide, append, and retry after a conflict.

use super::boundary::{Boundary, Snapshots};
use super::decided::Decided;
use super::decision::IntoDecision;
use super::error::DecideError;
use super::executor::Executor;
use super::loaded::{Reader, SnapshotInterval};
use crate::database::{RetryPolicy, retry};
use crate::error::Result;
use crate::events::CommandKey;
use crate::store::EventStore;
use std::fmt;
use std::time::Duration;

const DEFAULT_RETRIES: u32 = 3;

/// Bounds of the pause between attempts. The first retry has no pause.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// A decision under construction. Made by [`EventStore::decide`] or [`Session::decide`](crate::Session::decide).
#[must_use = "a decision is made by `run`"]
pub struct Decide<X, B> {
    executor: X,
    boundary: B,
    retries: u32,
    snapshots: Option<SnapshotInterval>,
}

impl<X, B: fmt::Debug> fmt::Debug for Decide<X, B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Decide")
            .field("boundary", &self.boundary)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// An idempotent decision: it is executed once per key. Made by [`Decide::key`].
#[must_use = "a decision is made by `run`"]
pub struct KeyedDecide<X, B> {
    decide: Decide<X, B>,
    key: CommandKey,
}

impl<X, B: fmt::Debug> fmt::Debug for KeyedDecide<X, B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyedDecide")
            .field("decide", &self.decide)
            .field("key", &self.key)
            .finish()
    }
}

impl<X, B> Decide<X, B> {
    pub(super) fn new(executor: X, boundary: B) -> Self {
        Self {
            executor,
            boundary,
            retries: DEFAULT_RETRIES,
            snapshots: None,
        }
    }

    pub(super) fn once(executor: X, boundary: B) -> Self {
        Self {
            retries: 0,
            ..Self::new(executor, boundary)
        }
    }
}

impl<B: Boundary> Decide<&EventStore, B> {
    /// Maximum number of retries after a version conflict, a serialization failure or a deadlock. Each retry reads and decides
    /// again, after a pause of up to 100 ms. A refusal is never retried. 0 makes one attempt. Defaults to 3.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }
}

impl<X: Executor, B: Snapshots> Decide<X, B> {
    /// Keeps snapshots of the states, so that the next decisions read only the events after them. Defaults to none.
    ///
    /// A snapshot of a stream is written if the last one is at least `events` versions old. No command waits for it: a thread
    /// of the store writes after the commit. Dropping the last clone of a store waits up to a second for the last ones. In a
    /// transaction that the caller commits ([`EventStore::in_transaction`]), snapshots are read and none is written.
    ///
    /// A snapshot is a cache. It is not used if it was written by another [`VERSION`](super::Evolve::VERSION), if its JSON
    /// does not fit the state, or if the stream does not have its event. All events are read then, a new snapshot is written,
    /// and `tracing` gets a warning. The JSON has to hold the whole state: fields that serde skips are lost.
    ///
    /// ```
    /// # use emmett_postgresql::decide::{DecideError, Evolve, stream};
    /// # use emmett_postgresql::{EventStore, RawEvent};
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Ledger {
    ///     entries: u64,
    /// }
    ///
    /// impl Evolve for Ledger {
    ///     type Event = RawEvent;
    ///     const VERSION: u32 = 2;
    ///     fn evolve(&mut self, _: &RawEvent) {
    ///         self.entries += 1;
    ///     }
    /// }
    ///
    /// # fn close(store: &EventStore) -> Result<(), DecideError<std::convert::Infallible>> {
    /// store
    ///     .decide(stream::<Ledger>("Ledger-9"))
    ///     .snapshot_every(500)
    ///     .run(|_| Ok([RawEvent::new("DayClosed", serde_json::json!({}))]))?;
    /// # Ok(()) }
    /// # let database = emmett_postgresql::testing::database()?;
    /// # close(&EventStore::open(database.url())?).expect("closed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`run`](Decide::run) fails with [`Error::InvalidInput`](crate::Error::InvalidInput) if `events` is 0.
    pub fn snapshot_every(mut self, events: u64) -> Self {
        self.boundary = self.boundary.with_snapshots();
        self.snapshots = Some(SnapshotInterval(events));
        self
    }
}

impl<X: Executor, B: Snapshots> KeyedDecide<X, B> {
    /// Keeps snapshots of the states; see [`Decide::snapshot_every`].
    pub fn snapshot_every(mut self, events: u64) -> Self {
        self.decide = self.decide.snapshot_every(events);
        self
    }
}

impl<X: Executor, B: Boundary> Decide<X, B> {
    /// Makes the command idempotent under this key. A repeated command gets the stored reply, and nothing is decided. The key
    /// is stored in the transaction of the append, so a stored key proves that the command's events are stored.
    ///
    /// A key is text of 1 to 2,000 bytes. Keys are separate per tenant. A refused command stores no key.
    pub fn key(self, key: impl Into<String>) -> KeyedDecide<X, B> {
        KeyedDecide {
            decide: self,
            key: CommandKey::new(key.into()),
        }
    }

    /// Reads the boundary, calls the closure, and appends its events.
    ///
    /// The closure is called once per attempt, with the states of that attempt. It should therefore have no side effects. A
    /// decision without events sends no append to the database.
    ///
    /// # Errors
    /// - [`DecideError::Refused`]: the closure refused.
    /// - [`DecideError::Store`] with [`Error::Conflict`](crate::Error::Conflict): the streams changed during every attempt, or
    ///   one is not at its [expected version](super::StreamBoundary::expected_version).
    /// - [`DecideError::Store`] with [`Error::StreamArchived`](crate::Error::StreamArchived): a stream is archived.
    /// - [`DecideError::Store`] with [`Error::Decode`](crate::Error::Decode): a stored or a new event does not match the event
    ///   type of its stream.
    /// - The other errors of [`append_to_streams`](EventStore::append_to_streams).
    pub fn run<O, E>(
        mut self,
        mut decide: impl for<'a> FnMut(B::View<'a>) -> Result<O, E>,
    ) -> Result<Decided<B, O::Reply>, DecideError<E>>
    where
        O: IntoDecision<B>,
    {
        let reader = Reader::new(&self.boundary, self.snapshots)?;
        let executor = &mut self.executor;
        let policy = policy(self.retries);
        retry(
            &policy,
            |_| {
                let loaded = reader.read(executor, None)?;
                let (loaded, decision) = loaded.decide(executor, &mut decide)?;
                Ok(loaded.append(executor, decision)?)
            },
            |outcome| is_repeated(&reader, outcome),
        )
    }
}

impl<X: Executor, B: Boundary> KeyedDecide<X, B> {
    /// Sets the content of the command. The same key with a different content is an error. Defaults to none: only the key is
    /// compared.
    ///
    /// # Errors
    /// If the content cannot be serialized as JSON.
    pub fn content(mut self, content: &impl serde::Serialize) -> Result<Self> {
        self.key = self.key.with_content(content)?;
        Ok(self)
    }

    /// Reads the boundary, calls the closure, and appends its events, unless the key was executed before.
    ///
    /// # Errors
    /// - Those of [`Decide::run`].
    /// - [`Error::CommandKeyReused`](crate::Error::CommandKeyReused): the key belongs to a different content.
    /// - [`Error::InvalidInput`](crate::Error::InvalidInput): the key cannot be stored.
    /// - [`Error::CommandJson`](crate::Error::CommandJson): the reply cannot be serialized, or the stored reply cannot be
    ///   deserialized.
    pub fn run<O, E>(
        mut self,
        mut decide: impl for<'a> FnMut(B::View<'a>) -> Result<O, E>,
    ) -> Result<Decided<B, O::Reply>, DecideError<E>>
    where
        O: IntoDecision<B, Reply: serde::Serialize + serde::de::DeserializeOwned>,
    {
        let reader = Reader::new(&self.decide.boundary, self.decide.snapshots)?;
        let executor = &mut self.decide.executor;
        let key = &self.key;
        key.check()?;
        let policy = policy(self.decide.retries);
        retry(
            &policy,
            |_| loop {
                let mut loaded = reader.read(executor, Some(key))?;
                if let Some(reply) = loaded.take_reply() {
                    return Ok(loaded.decided_before(executor, key.read_reply(&reply)?));
                }
                let (loaded, decision) = loaded.decide(executor, &mut decide)?;
                // If another call took the key meanwhile, the next read finds its reply.
                if let Some(decided) = loaded.append_once(executor, key, decision)? {
                    return Ok(decided);
                }
            },
            |outcome| is_repeated(&reader, outcome),
        )
    }
}

fn policy(retries: u32) -> RetryPolicy {
    RetryPolicy::times(retries)
        .pausing(SHORTEST_PAUSE, LONGEST_PAUSE)
        .pausing_after(1)
        .with_jitter()
}

fn is_repeated<B: Boundary, T, E>(
    reader: &Reader<'_, B>,
    outcome: &Result<T, DecideError<E>>,
) -> bool {
    match outcome {
        Err(DecideError::Store(error)) => reader.may_succeed_after(error),
        _ => false,
    }
}

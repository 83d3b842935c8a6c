//! Execution of decisions: read, decide, append, and retry after a conflict.

use super::boundary::{Boundary, NewEvent};
use super::decision::{Decision, IntoDecision, NewEvents};
use super::error::DecideError;
use super::executor::{Executor, Reading};
use crate::database::{ExpectedVersion, RetryPolicy, retry};
use crate::error::{Error, Result};
use crate::events::{Appended, CommandKey, MessageRow, StreamAppend, stream};
use crate::store::EventStore;
use std::fmt;
use std::sync::Arc;
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

/// Result of an executed decision.
#[non_exhaustive]
pub struct Decided<B: Boundary, R = ()> {
    /// The states of the boundary, including the appended events.
    pub state: B::States,
    /// The versions of the boundary's streams after the append, in the shape of the boundary.
    pub version: B::Versions,
    /// The decision's reply.
    pub reply: R,
    /// One entry per stream that received events, in the order of the decision. Empty if the decision has no events, or if its
    /// key was executed before.
    pub appended: Vec<Appended>,
    /// Whether the command was executed before under its key. The reply is then the stored one; the state is the current one.
    pub was_decided_before: bool,
}

impl<B, R> fmt::Debug for Decided<B, R>
where
    B: Boundary<States: fmt::Debug, Versions: fmt::Debug>,
    R: fmt::Debug,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Decided")
            .field("state", &self.state)
            .field("version", &self.version)
            .field("reply", &self.reply)
            .field("appended", &self.appended)
            .field("was_decided_before", &self.was_decided_before)
            .finish()
    }
}

impl<X, B> Decide<X, B> {
    pub(super) fn new(executor: X, boundary: B) -> Self {
        Self {
            executor,
            boundary,
            retries: DEFAULT_RETRIES,
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
    /// - [`DecideError::Store`] with [`Error::Conflict`]: the streams changed during every attempt.
    /// - [`DecideError::Store`] with [`Error::StreamArchived`]: a stream is archived.
    /// - [`DecideError::Store`] with [`Error::Decode`]: a stored or a new event does not match the event type of its stream.
    /// - The other errors of [`append_to_streams`](EventStore::append_to_streams).
    pub fn run<O, E>(
        mut self,
        mut decide: impl for<'a> FnMut(B::View<'a>) -> Result<O, E>,
    ) -> Result<Decided<B, O::Reply>, DecideError<E>>
    where
        O: IntoDecision<B>,
    {
        let (executor, boundary) = (&mut self.executor, &self.boundary);
        let policy = policy(self.retries);
        retry(
            &policy,
            |_| {
                let loaded = Loaded::read(executor, boundary, None)?;
                let decision = decide(B::view(&loaded.states)).map_err(DecideError::Refused)?;
                Ok(loaded.append(executor, decision.into_decision(boundary))?)
            },
            is_repeated,
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
    /// - [`Error::CommandKeyReused`]: the key belongs to a different content.
    /// - [`Error::InvalidInput`]: the key cannot be stored.
    /// - [`Error::CommandJson`]: the reply cannot be serialized, or the stored reply cannot be deserialized.
    pub fn run<O, E>(
        mut self,
        mut decide: impl for<'a> FnMut(B::View<'a>) -> Result<O, E>,
    ) -> Result<Decided<B, O::Reply>, DecideError<E>>
    where
        O: IntoDecision<B, Reply: serde::Serialize + serde::de::DeserializeOwned>,
    {
        let (executor, boundary) = (&mut self.decide.executor, &self.decide.boundary);
        let key = &self.key;
        key.check()?;
        let policy = policy(self.decide.retries);
        retry(
            &policy,
            |_| loop {
                let mut loaded = Loaded::read(executor, boundary, Some(key))?;
                if let Some(reply) = loaded.reply.take() {
                    return Ok(loaded.decided_before(key.read_reply(&reply)?));
                }
                let decision = decide(B::view(&loaded.states)).map_err(DecideError::Refused)?;
                let decision = decision.into_decision(boundary);
                // If another call took the key meanwhile, the next read finds its reply.
                if let Some(decided) = loaded.append_once(executor, key, decision)? {
                    return Ok(decided);
                }
            },
            is_repeated,
        )
    }
}

fn policy(retries: u32) -> RetryPolicy {
    RetryPolicy::times(retries)
        .pausing(SHORTEST_PAUSE, LONGEST_PAUSE)
        .pausing_after(1)
        .with_jitter()
}

fn is_repeated<T, E>(outcome: &Result<T, DecideError<E>>) -> bool {
    match outcome {
        Err(DecideError::Store(error)) => error.is_conflict() || error.is_contention(),
        _ => false,
    }
}

/// A boundary after its read.
struct Loaded<B: Boundary> {
    states: B::States,
    streams: Vec<Arc<str>>,
    versions: Vec<u64>,
    /// The stored reply, if the command was executed before.
    reply: Option<Vec<u8>>,
}

impl<B: Boundary> Loaded<B> {
    fn read(executor: &mut impl Executor, boundary: &B, key: Option<&CommandKey>) -> Result<Self> {
        let mut streams = Vec::with_capacity(B::STREAMS);
        boundary.name_streams(&mut streams);
        refuse_repeated(&streams)?;
        executor.read(&mut |Reading { sql, partition }| {
            let mut states = boundary.begin()?;
            let mut fold = |number, row: MessageRow<'_>| B::fold(&mut states, number, &row);
            let read = stream::read_together(sql, partition, &streams, key, &mut fold)?;
            Ok(Self {
                states,
                streams: streams.clone(),
                versions: read.versions,
                reply: read.reply,
            })
        })
    }

    fn append<R>(
        mut self,
        executor: &mut impl Executor,
        decision: Decision<R>,
    ) -> Result<Decided<B, R>> {
        let new = decision.appends?;
        if new.is_empty() {
            return Ok(self.decided(decision.reply, Vec::new()));
        }
        let appends = executor.prepare(self.prepare(new)?)?;
        let appended = executor.append(&appends)?;
        Ok(self.appended(&appends, appended, decision.reply))
    }

    /// Returns `None` if the key is taken.
    fn append_once<R: serde::Serialize>(
        mut self,
        executor: &mut impl Executor,
        key: &CommandKey,
        decision: Decision<R>,
    ) -> Result<Option<Decided<B, R>>> {
        let new = decision.appends?;
        let reply = key.write_reply(&decision.reply)?;
        let appends = if new.is_empty() {
            Vec::new()
        } else {
            executor.prepare(self.prepare(new)?)?
        };
        let appended = executor.append_under_key(&appends, key, &reply)?;
        Ok(appended.map(|appended| self.appended(&appends, appended, decision.reply)))
    }

    /// Applies the events to the states, and gives each stream its expected version. Streams without events become conditions.
    fn prepare(&mut self, new: Vec<NewEvents>) -> Result<Vec<StreamAppend>> {
        let mut appends = Vec::with_capacity(new.len() + self.streams.len());
        let mut is_appended = vec![false; self.streams.len()];
        for NewEvents { stream, messages } in new {
            let number = self.streams.iter().position(|name| *name == stream);
            let expected = number.map_or(ExpectedVersion::Any, |number| {
                ExpectedVersion::Exact(self.versions[number])
            });
            if let Some(number) = number {
                is_appended[number] = true;
                for (message, version) in messages.iter().zip(self.versions[number] + 1..) {
                    let new = NewEvent {
                        stream: &stream,
                        version,
                        message,
                    };
                    B::apply(&mut self.states, number, &new)?;
                }
            }
            appends.push(StreamAppend::new(&stream, expected, messages)?);
        }
        for (number, stream) in self.streams.iter().enumerate() {
            if !is_appended[number] {
                let expected = ExpectedVersion::Exact(self.versions[number]);
                appends.push(StreamAppend::condition(stream, expected)?);
            }
        }
        Ok(appends)
    }

    fn appended<R>(
        mut self,
        appends: &[StreamAppend],
        appended: Vec<Appended>,
        reply: R,
    ) -> Decided<B, R> {
        for (append, appended) in appends.iter().zip(&appended) {
            if let Some(number) = self.streams.iter().position(|name| *name == append.stream) {
                self.versions[number] = appended.next_expected_version;
            }
        }
        let mut own = appended;
        own.retain(|appended| !appended.global_positions.is_empty());
        self.decided(reply, own)
    }

    fn decided<R>(self, reply: R, appended: Vec<Appended>) -> Decided<B, R> {
        Decided {
            version: B::versions(&self.versions),
            state: self.states,
            reply,
            appended,
            was_decided_before: false,
        }
    }

    fn decided_before<R>(self, reply: R) -> Decided<B, R> {
        Decided {
            was_decided_before: true,
            ..self.decided(reply, Vec::new())
        }
    }
}

fn refuse_repeated(streams: &[Arc<str>]) -> Result<()> {
    let mut sorted: Vec<&Arc<str>> = streams.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::invalid(
            format!("stream \"{}\"", pair[0]),
            "stands twice in the boundary of one decision",
        )),
        None => Ok(()),
    }
}

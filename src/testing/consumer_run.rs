//! The outcome of a specified reactor, and its expectations.

use super::Database;
use super::difference::{list_differences, report};
use super::specification::{Stored, compare, encoded, list};
use crate::consumer::scripted::{Script, ScriptedConsumer, Stopped};
use crate::consumer::{MessageName, RetryPause};
use crate::events::{Event, FeedOptions, RawEvent, Recorded};
use crate::operations::{ParkedMessage, ParkedOptions, ParkedSelection};
use crate::store::EventStore;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The outcome of a [`ConsumerSpec`](super::ConsumerSpec), to be compared with the expected one.
///
/// A message is a stream's name and the message's version there. No failure is overlooked: a reactor that has stopped or
/// has parked messages fails each expectation before [`stopped_at`](ConsumerRun::stopped_at) or
/// [`parked`](ConsumerRun::parked) has said so.
///
/// Emmett has no such specification. Where it would wait for a checkpoint and ask a fake mail server, expect
/// [`handled`](ConsumerRun::handled) and [`check`](ConsumerRun::check).
pub struct ConsumerRun {
    consumer: ScriptedConsumer,
    script: Arc<Script>,
    calls: Vec<MessageName>,
    pauses: Vec<RetryPause>,
    stopped: Option<Stopped>,
    parked: Vec<ParkedMessage>,
    is_stop_expected: bool,
    are_parked_expected: bool,
    /// Position of the last message before the reactor ran.
    given_up_to: u64,
    store: EventStore,
    /// Dropped last.
    _database: Database,
}

impl fmt::Debug for ConsumerRun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConsumerRun")
            .field("calls", &self.calls)
            .field("pauses", &self.pauses)
            .field("parked", &self.parked)
            .finish_non_exhaustive()
    }
}

#[expect(
    clippy::return_self_not_must_use,
    reason = "each expectation may be the last one"
)]
impl ConsumerRun {
    pub(super) fn begin(
        consumer: ScriptedConsumer,
        script: Arc<Script>,
        given_up_to: u64,
        store: EventStore,
        database: Database,
    ) -> anyhow::Result<Self> {
        let mut run = Self {
            consumer,
            script,
            calls: Vec::new(),
            pauses: Vec::new(),
            stopped: None,
            parked: Vec::new(),
            is_stop_expected: false,
            are_parked_expected: false,
            given_up_to,
            store,
            _database: database,
        };
        run.run()?;
        Ok(run)
    }

    fn run(&mut self) -> anyhow::Result<()> {
        self.stopped = self.consumer.run()?;
        self.calls = self.script.take_calls();
        self.pauses = self.consumer.take_pauses();
        let processors = self.store.processors().version(self.consumer.version());
        let all = ParkedOptions::new().limit(usize::MAX);
        self.parked = processors.parked(self.consumer.name(), all)?;
        Ok(())
    }

    /// Expects the messages with which the handler was called, in this order. A message stands there for each call, also
    /// for those that failed. A failure without a call, as of [`failing_at`](super::ConsumerSpec::failing_at), is none.
    ///
    /// A reactor with several [slots](crate::Reactor::slots) promises an order within each stream only. Only that is
    /// compared then.
    ///
    /// # Panics
    /// When the handler was called with other messages, or in another order. The place is the caller's line, as for all
    /// expectations.
    #[track_caller]
    pub fn handled<'a>(self, messages: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        self.nothing_is_overlooked();
        let expected = messages.into_iter().map(named).collect();
        let expected = self.in_order(expected, |message| message);
        let found = self.in_order(self.calls.clone(), |message| message);
        let heading = "the handler was called with other messages";
        same(heading, "call", &texts(&expected), &texts(&found));
        self
    }

    /// Expects exactly these parked messages, in this order. Later messages of a stream with a parked message are parked,
    /// too.
    ///
    /// # Panics
    /// When other messages are parked. The message has the reason of each.
    #[track_caller]
    pub fn parked<'a>(mut self, messages: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        self.are_parked_expected = true;
        self.no_stop_is_overlooked();
        let expected: Vec<MessageName> = messages.into_iter().map(named).collect();
        let found: Vec<MessageName> = self.parked.iter().map(name_of).collect();
        let (expected, found) = (texts(&expected), texts(&found));
        let mut lines = list_differences("parked", &expected, &found);
        if !lines.is_empty() {
            lines.extend(self.parked.iter().filter_map(reason));
        }
        report("other messages are parked", &lines);
        self
    }

    /// Expects that the reactor has stopped at this message, because of [`FailurePolicy::stop`](crate::FailurePolicy::stop).
    ///
    /// # Panics
    /// When the reactor has not stopped, or for another reason.
    #[track_caller]
    pub fn stopped_at(mut self, stream: &str, version: u64) -> Self {
        self.is_stop_expected = true;
        let expected = named((stream, version));
        match &self.stopped {
            None => panic!("expected a stop at {expected}, but the reactor has not stopped"),
            Some(Stopped { error, message }) if message.as_ref() != Some(&expected) => {
                panic!("expected a stop at {expected}, found another one: {error:#}")
            }
            Some(_) => self,
        }
    }

    /// Expects these pauses before retries: for each message that was retried, in the order of the first retries. With
    /// several [slots](crate::Reactor::slots), the order within each stream.
    ///
    /// ```no_run
    /// # use emmett_postgresql::testing::ConsumerRun;
    /// # use std::time::Duration;
    /// # fn of(run: ConsumerRun) {
    /// let seconds = |seconds: [u64; 3]| seconds.map(Duration::from_secs);
    /// run.retried([("Cart-1", 2, seconds([1, 2, 4])), ("Cart-2", 1, seconds([1, 2, 4]))]);
    /// # }
    /// ```
    ///
    /// # Panics
    /// When other messages were retried, or after other pauses.
    #[track_caller]
    pub fn retried<'a, P: IntoIterator<Item = Duration>>(
        self,
        retried: impl IntoIterator<Item = (&'a str, u64, P)>,
    ) -> Self {
        self.nothing_is_overlooked();
        let expected = retried
            .into_iter()
            .map(|(stream, version, pauses)| Retried {
                message: named((stream, version)),
                pauses: pauses.into_iter().collect(),
            });
        let expected = self.in_order(expected.collect(), |retried| &retried.message);
        let found = self.in_order(retries(&self.pauses), |retried| &retried.message);
        let (expected, found) = (texts(&expected), texts(&found));
        same("other retries were made", "retried", &expected, &found);
        self
    }

    /// Expects that the pauses before retries last this long together.
    ///
    /// # Panics
    /// When they are longer or shorter.
    #[track_caller]
    pub fn waited(self, expected: Duration) -> Self {
        self.nothing_is_overlooked();
        let found: Duration = self.pauses.iter().map(|pause| pause.pause).sum();
        assert!(
            found == expected,
            "expected pauses of {expected:?} before retries, found {found:?}"
        );
        self
    }

    /// Expects exactly these events in a stream, after those that were given. They are compared by type and JSON, as they
    /// are stored, so they need neither `PartialEq` nor `Debug`.
    ///
    /// # Panics
    /// When there are other events. The message lists each field that differs.
    #[track_caller]
    pub fn appended<E: Event>(self, stream: &str, expected: impl IntoIterator<Item = E>) -> Self {
        self.nothing_is_overlooked();
        let expected: Vec<Stored> = expected.into_iter().map(|event| encoded(&event)).collect();
        let found = match self.appended_to(stream) {
            Ok(found) => found,
            Err(error) => panic!("stream \"{stream}\" cannot be read: {error:#}"),
        };
        let heading = format!("the reactor has appended other events to stream \"{stream}\"");
        compare(&heading, &expected, &found);
        self
    }

    /// Expects no events but those that were given.
    ///
    /// # Panics
    /// When there are further events.
    #[track_caller]
    pub fn appended_nothing(self) -> Self {
        self.nothing_is_overlooked();
        match self.appended_anywhere() {
            Ok(found) if found.is_empty() => self,
            Ok(found) => panic!("expected no events, found {}", list(&found)),
            Err(error) => panic!("the store cannot be read: {error:#}"),
        }
    }

    /// Checks the database: documents, tables, or anything else. The closure asserts, or returns an error.
    ///
    /// Emmett has `expectPongoDocuments` and `expectSQL` for projections only.
    ///
    /// ```no_run
    /// # use emmett_postgresql::testing::ConsumerRun;
    /// # fn of(run: ConsumerRun) {
    /// run.check(|store| {
    ///     let mail = store.collection::<serde_json::Value>("mails").find_by_id("Cart-1")?;
    ///     anyhow::ensure!(mail.is_some(), "no mail for Cart-1");
    ///     Ok(())
    /// });
    /// # }
    /// ```
    ///
    /// # Panics
    /// When the closure returns an error.
    #[track_caller]
    pub fn check(self, check: impl FnOnce(&EventStore) -> anyhow::Result<()>) -> Self {
        self.nothing_is_overlooked();
        if let Err(error) = check(&self.store) {
            panic!("the check failed: {error:#}");
        }
        self
    }

    /// Replays all parked messages, as an operator would request. The expectations that follow about calls and pauses are
    /// about the replay. Failures that were not used up yet happen in it.
    ///
    /// # Panics
    /// When no messages are parked, or the reactor cannot run.
    #[track_caller]
    pub fn then_replayed(mut self) -> Self {
        self.no_stop_is_overlooked();
        assert!(
            !self.parked.is_empty(),
            "no messages are parked, so none can be replayed"
        );
        self.are_parked_expected = false;
        if let Err(error) = self.replay() {
            panic!("the replay cannot run: {error:#}");
        }
        self
    }

    fn replay(&mut self) -> anyhow::Result<()> {
        let processors = self.store.processors().version(self.consumer.version());
        processors.replay(self.consumer.name(), &ParkedSelection::All)?;
        self.run()
    }

    #[track_caller]
    fn nothing_is_overlooked(&self) {
        self.no_stop_is_overlooked();
        if self.are_parked_expected {
            return;
        }
        if let Some(parked) = self.parked.first() {
            let reason = parked.error.as_deref().unwrap_or_default();
            let name = name_of(parked);
            panic!("{name} is parked: {reason}; expect it first, with `parked`");
        }
    }

    #[track_caller]
    fn no_stop_is_overlooked(&self) {
        if let Some(Stopped { error, .. }) = &self.stopped
            && !self.is_stop_expected
        {
            panic!("the reactor has stopped: {error:#}; expect it first, with `stopped_at`");
        }
    }

    fn appended_to(&self, stream: &str) -> anyhow::Result<Vec<Stored>> {
        let events = self.store.read_stream::<RawEvent>(stream)?.events;
        let is_new = |event: &Recorded<RawEvent>| event.global_position > self.given_up_to;
        Ok(events.into_iter().filter(is_new).map(as_stored).collect())
    }

    fn appended_anywhere(&self) -> anyhow::Result<Vec<Stored>> {
        let after = FeedOptions::new().after(self.given_up_to);
        let events = self.store.read_all::<RawEvent>(after);
        events.map(|event| Ok(as_stored(event?))).collect()
    }

    /// Brings items into an order that can be compared.
    fn in_order<T>(&self, mut items: Vec<T>, message: fn(&T) -> &MessageName) -> Vec<T> {
        if !self.consumer.has_one_order() {
            items.sort_by(|one, other| message(one).stream.cmp(&message(other).stream));
        }
        items
    }
}

/// The pauses before the retries of a message.
struct Retried {
    message: MessageName,
    pauses: Vec<Duration>,
}

impl fmt::Display for Retried {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pauses: Vec<String> = self.pauses.iter().map(|one| format!("{one:?}")).collect();
        write!(formatter, "{}, after {}", self.message, pauses.join(", "))
    }
}

/// Returns the retried messages in the order of their first retries.
fn retries(pauses: &[RetryPause]) -> Vec<Retried> {
    let mut messages: Vec<Retried> = Vec::new();
    for RetryPause { message, pause } in pauses {
        match messages.iter_mut().find(|one| one.message == *message) {
            Some(retried) => retried.pauses.push(*pause),
            None => messages.push(Retried {
                message: message.clone(),
                pauses: vec![*pause],
            }),
        }
    }
    messages
}

fn named((stream, version): (&str, u64)) -> MessageName {
    MessageName {
        stream: stream.into(),
        version,
    }
}

fn name_of(parked: &ParkedMessage) -> MessageName {
    named((&parked.stream_name, parked.stream_position))
}

fn reason(parked: &ParkedMessage) -> Option<String> {
    let error = parked.error.as_ref()?;
    Some(format!("{} is parked: {error}", name_of(parked)))
}

fn texts<T: fmt::Display>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

fn as_stored(recorded: Recorded<RawEvent>) -> Stored {
    Stored {
        event_type: recorded.event.event_type,
        data: recorded.event.data,
    }
}

#[track_caller]
fn same(heading: &str, item: &str, expected: &[String], found: &[String]) {
    report(heading, &list_differences(item, expected, found));
}

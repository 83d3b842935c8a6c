//! Specifications of reactors: given events and failures, when the consumer runs, then its effects.

use super::consumer_run::ConsumerRun;
use super::{Database, database};
use crate::consumer::scripted::{Fault, Moment, Script, ScriptedConsumer};
use crate::consumer::{MessageName, Reactor};
use crate::error::counted;
use crate::events::{AppendOptions, Appendable, StreamAppend};
use crate::store::EventStore;
use std::fmt;
use std::sync::Arc;

type Preparation = dyn FnOnce(&EventStore) -> anyhow::Result<()>;

/// Specification of a [`Reactor`]: which messages it handles, retries and parks, and what it appends.
///
/// The reactor runs as it would in a consumer, with its options, on a database of its own. The failures are scripted, and
/// so is the time: pauses between retries are noted, and take none. Everything runs on the calling thread, so the outcome
/// is the same each time. [`on_failure`](Reactor::on_failure), [`can_handle`](Reactor::can_handle),
/// [`workers`](Reactor::workers) and [`batch`](crate::consumer::UnfinishedReactor::batch) are those of the reactor.
///
/// Messages are given by their number among all given ones, from 1 on, and expected by their stream and their version there.
/// Several failures at one message happen in the order in which they were added, one for each attempt.
///
/// Emmett has no such specification. Its tests run a consumer and wait with `whenCaughtUp`.
///
/// ```
/// use emmett_postgresql::{Event, FailurePolicy, Reactor, Recorded, testing::ConsumerSpec};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// #[derive(Serialize, Deserialize)]
/// enum CartEvent {
///     ItemAdded { quantity: u32 },
///     Confirmed {},
/// }
/// impl Event for CartEvent {}
///
/// #[derive(Serialize, Deserialize)]
/// enum MailEvent {
///     Sent { cart: String },
/// }
/// impl Event for MailEvent {}
///
/// fn mailer() -> Reactor {
///     Reactor::new("mailer")
///         .each(|confirmed: &Recorded<CartEvent>, context| {
///             let cart = confirmed.stream_name.to_string();
///             context.append_to_stream("Mail-1", &[MailEvent::Sent { cart }])?;
///             Ok(())
///         })
///         .can_handle(&["Confirmed"])
///         .on_failure(FailurePolicy::park().retries(2, Duration::from_secs(1)))
/// }
///
/// fn cart() -> ConsumerSpec {
///     let added = CartEvent::ItemAdded { quantity: 2 };
///     ConsumerSpec::of(mailer()).given("Cart-1", [added, CartEvent::Confirmed {}])
/// }
///
/// cart().run().handled([("Cart-1", 2)]).appended("Mail-1", [MailEvent::Sent { cart: "Cart-1".into() }]);
/// cart().failing_times(2, 1).run().handled([("Cart-1", 2)]).waited(Duration::from_secs(1));
/// cart().failing_at(2).run().parked([("Cart-1", 2)]).appended_nothing();
/// ```
#[must_use = "a specification runs the reactor"]
pub struct ConsumerSpec {
    reactor: Reactor,
    preparations: Vec<Box<Preparation>>,
    given: Vec<StreamAppend>,
    scripted: Vec<Scripted>,
}

/// A failure that was asked for.
struct Scripted {
    setter: &'static str,
    number: usize,
    fault: Fault,
    /// `None` for each attempt.
    times: Option<u32>,
}

/// A given message.
struct GivenMessage {
    name: MessageName,
    message_type: String,
}

impl fmt::Debug for ConsumerSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConsumerSpec")
            .field("reactor", &self.reactor)
            .finish_non_exhaustive()
    }
}

impl ConsumerSpec {
    /// Begins the specification of a reactor.
    pub fn of(reactor: Reactor) -> Self {
        Self {
            reactor,
            preparations: Vec::new(),
            given: Vec::new(),
            scripted: Vec::new(),
        }
    }

    /// Prepares the database before the reactor starts: creates its tables, or appends events that it reads. A reactor
    /// that starts at the [`End`](crate::consumer::StartFrom::End) passes such events over. Defaults to nothing.
    ///
    /// ```
    /// # use emmett_postgresql::{RawEvent, Reactor, Recorded, testing::ConsumerSpec};
    /// let reactor = Reactor::new("mails").each(|message: &Recorded<RawEvent>, context| {
    ///     context.execute("INSERT INTO mails VALUES ($1)", &[&&*message.stream_name])?;
    ///     Ok(())
    /// });
    /// ConsumerSpec::of(reactor)
    ///     .given_database(|store| {
    ///         store.with_session(|session| Ok(session.execute("CREATE TABLE mails (client text)", &[])?))?;
    ///         Ok(())
    ///     })
    ///     .given("Client-1", [RawEvent::new("Registered", serde_json::json!({}))])
    ///     .run()
    ///     .handled([("Client-1", 1)]);
    /// ```
    pub fn given_database(
        mut self,
        prepare: impl FnOnce(&EventStore) -> anyhow::Result<()> + 'static,
    ) -> Self {
        self.preparations.push(Box::new(prepare));
        self
    }

    /// Appends events, or [`NewMessage`](crate::NewMessage)s, to a stream after the reactor has started.
    ///
    /// # Panics
    /// When the name or an event cannot be stored.
    #[track_caller]
    pub fn given<A: Appendable>(
        mut self,
        stream: &str,
        messages: impl IntoIterator<Item = A>,
    ) -> Self {
        let messages: Vec<A> = messages.into_iter().collect();
        match AppendOptions::new().prepare(stream, &messages) {
            Ok(append) => self.given.push(append),
            Err(error) => panic!("{:#}", anyhow::Error::from(error)),
        }
        self
    }

    /// Lets each attempt at the given message of this number fail, without a call of the handler.
    ///
    /// # Panics
    /// When the message already fails at each attempt.
    #[track_caller]
    pub fn failing_at(self, number: usize) -> Self {
        self.script("failing_at", number, Fault::Failure(Moment::Before), None)
    }

    /// Lets so many attempts at the given message of this number fail, without a call of the handler.
    ///
    /// # Panics
    /// When the message already fails at each attempt, or for no times.
    #[track_caller]
    pub fn failing_times(self, number: usize, times: u32) -> Self {
        let before = Fault::Failure(Moment::Before);
        self.script("failing_times", number, before, Some(times))
    }

    /// Lets one attempt at the given message of this number fail after its handler has succeeded. Effects outside the
    /// context have happened then, and those through the context are rolled back.
    ///
    /// # Panics
    /// When the message already fails at each attempt.
    #[track_caller]
    pub fn failing_after(self, number: usize) -> Self {
        let after = Fault::Failure(Moment::After);
        self.script("failing_after", number, after, Some(1))
    }

    /// Ends the process once, after it has handled the given message of this number and before the checkpoint. Another
    /// process takes over and handles the messages of the batch again.
    ///
    /// # Panics
    /// When the message already fails at each attempt.
    #[track_caller]
    pub fn crashing_after(self, number: usize) -> Self {
        self.script("crashing_after", number, Fault::End(Moment::After), Some(1))
    }

    /// Ends the process at each attempt at the given message of this number, without a call of the handler. It is a poison
    /// message: after five processes have ended at it, it is parked, whatever the [policy](Reactor::on_failure) is.
    ///
    /// # Panics
    /// When the message already fails at each attempt.
    #[track_caller]
    pub fn crashing_at(self, number: usize) -> Self {
        self.script("crashing_at", number, Fault::End(Moment::Before), None)
    }

    #[track_caller]
    fn script(
        mut self,
        setter: &'static str,
        number: usize,
        fault: Fault,
        times: Option<u32>,
    ) -> Self {
        let is_always = |other: &Scripted| other.number == number && other.times.is_none();
        if let Some(always) = self.scripted.iter().find(|other| is_always(other)) {
            let earlier = always.setter;
            panic!(
                "{setter}({number}) has no effect: {earlier}({number}) is about each attempt, so say it last"
            );
        }
        assert!(
            times != Some(0),
            "{setter}({number}, 0) has no effect: say at least 1"
        );
        self.scripted.push(Scripted {
            setter,
            number,
            fault,
            times,
        });
        self
    }

    /// Runs the reactor until it has handled everything, or has stopped. It handles events that it appends, too.
    ///
    /// # Panics
    /// When there is no PostgreSQL, the reactor cannot start, or a failure is at a message that is not given or that the
    /// reactor does not handle. Also when the reactor waits for the database, or handles its own events without end.
    #[must_use = "a specification says what is expected"]
    #[track_caller]
    pub fn run(self) -> ConsumerRun {
        match self.try_run() {
            Ok(run) => run,
            Err(error) => panic!("the specification cannot run: {error:#}"),
        }
    }

    fn try_run(self) -> anyhow::Result<ConsumerRun> {
        let database: Database = database()?;
        let store = EventStore::builder(database.url())
            .notifications(false)
            .open()?;
        for prepare in self.preparations {
            prepare(&store)?;
        }
        let script = Arc::new(Script::default());
        let consumer = ScriptedConsumer::new(store.clone(), self.reactor, &script)?;
        let given = append(&store, self.given)?;
        for scripted in self.scripted {
            scripted.add_to(&script, &consumer, &given)?;
        }
        let given_up_to = store.feed_horizon(0)?.head;
        ConsumerRun::begin(consumer, script, given_up_to, store, database)
    }
}

impl Scripted {
    fn add_to(
        &self,
        script: &Script,
        consumer: &ScriptedConsumer,
        given: &[GivenMessage],
    ) -> anyhow::Result<()> {
        let (setter, number) = (self.setter, self.number);
        let index = number.checked_sub(1);
        let Some(message) = index.and_then(|index| given.get(index)) else {
            let count = counted(given.len() as u64, "message");
            anyhow::bail!("{setter}({number}) has no effect: {count} given, counted from 1");
        };
        let (name, message_type) = (&message.name, &message.message_type);
        anyhow::ensure!(
            consumer.handles(&name.stream, message_type),
            "{setter}({number}) has no effect: the reactor does not handle {name}, type `{message_type}`"
        );
        match self.times {
            Some(times) => script.add(name.clone(), self.fault, times),
            None => script.add_always(name.clone(), self.fault),
        }
        Ok(())
    }
}

/// Appends the given messages, and returns them in the order of their numbers.
fn append(store: &EventStore, given: Vec<StreamAppend>) -> anyhow::Result<Vec<GivenMessage>> {
    let mut messages = Vec::new();
    for append in given {
        let count = append.messages.len() as u64;
        if count == 0 {
            continue;
        }
        let appended = store.append_prepared(std::slice::from_ref(&append))?;
        let last = appended.first().map_or(0, |one| one.next_expected_version);
        let versions = last + 1 - count..=last;
        let new = append.messages.iter().zip(versions);
        messages.extend(new.map(|(message, version)| GivenMessage {
            name: MessageName {
                stream: Arc::clone(&append.stream),
                version,
            },
            message_type: message.message_type.to_string(),
        }));
    }
    Ok(messages)
}

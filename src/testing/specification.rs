//! Specifications of decisions, without a database: given events, when something is decided, then events.

use super::difference::{differences, report};
use crate::decide::{Decider, Decision, Evolve, IntoDecision, StreamBoundary, stream};
use crate::events::Event;
use serde_json::Value;
use std::fmt::Debug;

const OTHER_EVENTS: &str = "the decision appends other events";

/// Begins the specification of a decision: the events of its stream so far.
///
/// Emmett calls it `DeciderSpecification`. A specification needs no database. Events are compared as they would be stored, by
/// type and JSON, so they need neither `PartialEq` nor `Debug`.
///
/// ```
/// use emmett_postgresql::decide::Evolve;
/// use emmett_postgresql::{Event, testing::given};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum CartEvent {
///     ItemAdded { quantity: u32 },
///     Confirmed,
/// }
/// impl Event for CartEvent {}
///
/// #[derive(Debug, PartialEq)]
/// struct Empty;
///
/// #[derive(Default)]
/// struct Cart {
///     items: u32,
/// }
///
/// impl Evolve for Cart {
///     type Event = CartEvent;
///     fn evolve(&mut self, event: &CartEvent) {
///         if let CartEvent::ItemAdded { quantity } = event {
///             self.items += quantity;
///         }
///     }
/// }
///
/// impl Cart {
///     fn confirm(&self) -> Result<[CartEvent; 1], Empty> {
///         if self.items == 0 {
///             return Err(Empty);
///         }
///         Ok([CartEvent::Confirmed])
///     }
/// }
///
/// given::<Cart>([CartEvent::ItemAdded { quantity: 2 }])
///     .when(Cart::confirm)
///     .then([CartEvent::Confirmed]);
/// given::<Cart>([]).when(Cart::confirm).refused(&Empty);
/// ```
pub fn given<S: Evolve>(events: impl IntoIterator<Item = S::Event>) -> Given<S> {
    Given {
        state: folded(events),
    }
}

fn folded<S: Evolve>(events: impl IntoIterator<Item = S::Event>) -> S {
    let mut state = S::default();
    for event in events {
        state.evolve(&event);
    }
    state
}

/// A state, before something is decided on it; made by [`given`].
#[derive(Debug)]
#[must_use = "a specification says what is decided"]
pub struct Given<S> {
    state: S,
}

impl<S: Evolve + 'static> Given<S> {
    /// Adds the next stream of the decision, with its events so far.
    ///
    /// ```
    /// use emmett_postgresql::decide::{Decision, Evolve};
    /// use emmett_postgresql::{Event, testing::given};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// enum Money {
    ///     In(i64),
    ///     Out(i64),
    /// }
    /// impl Event for Money {}
    ///
    /// #[derive(Default)]
    /// struct Account(i64);
    /// impl Evolve for Account {
    ///     type Event = Money;
    ///     fn evolve(&mut self, event: &Money) {
    ///         match event {
    ///             Money::In(amount) => self.0 += amount,
    ///             Money::Out(amount) => self.0 -= amount,
    ///         }
    ///     }
    /// }
    ///
    /// fn transfer((from, _to): (&Account, &Account)) -> Result<Decision, &'static str> {
    ///     if from.0 < 30 {
    ///         return Err("too little");
    ///     }
    ///     Ok(Decision::new().append("Account-1", [Money::Out(30)]).append("Account-2", [Money::In(30)]))
    /// }
    ///
    /// given::<Account>([Money::In(40)])
    ///     .and::<Account>([])
    ///     .when(transfer)
    ///     .then([Money::Out(30), Money::In(30)]);
    /// given::<Account>([]).and::<Account>([]).when(transfer).refused(&"too little");
    /// ```
    pub fn and<T: Evolve>(
        self,
        events: impl IntoIterator<Item = T::Event>,
    ) -> GivenStreams<(S, T)> {
        GivenStreams {
            states: (self.state, folded(events)),
        }
    }

    /// Decides, with the closure that [`run`](crate::decide::Decide::run) would call.
    ///
    /// # Panics
    /// When an event of the decision cannot be stored.
    #[track_caller]
    pub fn when<O, E>(self, decide: impl FnOnce(&S) -> Result<O, E>) -> Then<O::Reply, E>
    where
        O: IntoDecision<StreamBoundary<S>>,
    {
        let decided = decide(&self.state).map(|decision| {
            let boundary = stream::<S>(&stream_name::<S::Event>());
            stored(decision.into_decision(&boundary))
        });
        Then(decided)
    }

    /// Carries out a command of a [`Decider`].
    ///
    /// # Panics
    /// When an event of the decision cannot be stored.
    #[track_caller]
    pub fn command(self, command: &S::Command) -> Then<(), S::Error>
    where
        S: Decider,
    {
        self.when(|state| state.decide(command))
    }
}

/// The states of several streams, before something is decided on them; made by [`Given::and`].
#[derive(Debug)]
#[must_use = "a specification says what is decided"]
pub struct GivenStreams<T> {
    states: T,
}

macro_rules! given_streams {
    ($($state:ident $index:tt),+) => {
        impl<$($state: Evolve),+> GivenStreams<($($state,)+)> {
            /// Decides, with the closure that [`run`](crate::decide::Decide::run) would call.
            ///
            /// # Panics
            /// When an event of the decision cannot be stored.
            #[track_caller]
            pub fn when<Reply, Refusal>(
                self,
                decide: impl FnOnce(($(&$state,)+)) -> Result<Decision<Reply>, Refusal>,
            ) -> Then<Reply, Refusal> {
                Then(decide(($(&self.states.$index,)+)).map(stored))
            }
        }
    };
    ($($state:ident $index:tt),+; next) => {
        given_streams!($($state $index),+);

        impl<$($state: Evolve),+> GivenStreams<($($state,)+)> {
            /// Adds the next stream of the decision, with its events so far. A decision has at most eight streams.
            pub fn and<T: Evolve>(
                self,
                events: impl IntoIterator<Item = T::Event>,
            ) -> GivenStreams<($($state,)+ T)> {
                GivenStreams {
                    states: ($(self.states.$index,)+ folded(events)),
                }
            }
        }
    };
}

given_streams!(A 0, B 1; next);
given_streams!(A 0, B 1, C 2; next);
given_streams!(A 0, B 1, C 2, D 3; next);
given_streams!(A 0, B 1, C 2, D 3, E 4; next);
given_streams!(A 0, B 1, C 2, D 3, E 4, F 5; next);
given_streams!(A 0, B 1, C 2, D 3, E 4, F 5, G 6; next);
given_streams!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

/// A stream to which these events can belong.
fn stream_name<E: Event>() -> String {
    match E::CATEGORIES.first() {
        None | Some(&"") => "specification".to_owned(),
        Some(category) => format!("{category}-specification"),
    }
}

/// An event as it would be stored.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) event_type: String,
    pub(super) data: Value,
}

#[track_caller]
fn stored<R>(decision: Decision<R>) -> (Vec<Stored>, R) {
    let (messages, reply) = match decision.into_messages() {
        Ok(parts) => parts,
        Err(error) => panic!(
            "the decision cannot be stored: {:#}",
            anyhow::Error::from(error)
        ),
    };
    let events = messages
        .into_iter()
        .map(|message| as_stored(message.message_type.into_owned(), &message.data))
        .collect();
    (events, reply)
}

#[track_caller]
fn as_stored(event_type: String, data: &[u8]) -> Stored {
    match serde_json::from_slice(data) {
        Ok(data) => Stored { event_type, data },
        Err(error) => panic!("event `{event_type}` is no JSON: {error}"),
    }
}

#[track_caller]
pub(super) fn encoded<E: Event>(event: &E) -> Stored {
    match event.encode() {
        Ok((event_type, data)) => as_stored(event_type.into_owned(), &data),
        Err(error) => panic!("an event of the specification cannot be stored: {error}"),
    }
}

/// The outcome of a decision, to be compared with the expected one.
#[derive(Debug)]
#[must_use = "a specification compares the outcome"]
pub struct Then<R, E>(Result<(Vec<Stored>, R), E>);

impl<R, E: Debug> Then<R, E> {
    /// Expects exactly these events, in this order, whichever streams they are for.
    ///
    /// # Panics
    /// When the decision was refused, or appends other events. The message lists each field that differs, and the place is the
    /// caller's line.
    #[track_caller]
    pub fn then<V: Event>(self, expected: impl IntoIterator<Item = V>) -> ThenReplied<R> {
        let (found, reply) = self.decided();
        let expected: Vec<Stored> = expected.into_iter().map(|event| encoded(&event)).collect();
        compare(OTHER_EVENTS, &expected, &found);
        ThenReplied(reply)
    }

    /// Expects no events.
    ///
    /// # Panics
    /// When the decision was refused, or appends events.
    #[track_caller]
    pub fn then_nothing(self) -> ThenReplied<R> {
        let (found, reply) = self.decided();
        compare(OTHER_EVENTS, &[], &found);
        ThenReplied(reply)
    }

    /// Expects the domain's refusal.
    ///
    /// # Panics
    /// When the decision was not refused, or with another error.
    #[track_caller]
    pub fn refused(self, expected: &E)
    where
        E: PartialEq,
    {
        match self.0 {
            Err(found) if found == *expected => {}
            Err(found) => panic!("expected the refusal {expected:?}, found {found:?}"),
            Ok((events, _)) => panic!("expected the refusal {expected:?}, found {}", list(&events)),
        }
    }

    #[track_caller]
    fn decided(self) -> (Vec<Stored>, R) {
        match self.0 {
            Ok(decided) => decided,
            Err(refusal) => panic!("the decision was refused: {refusal:?}"),
        }
    }
}

/// A decision with the expected events.
#[derive(Debug)]
pub struct ThenReplied<R>(R);

impl<R: PartialEq + Debug> ThenReplied<R> {
    /// Expects this reply.
    ///
    /// # Panics
    /// When the reply is another one.
    #[track_caller]
    pub fn replied(self, expected: &R) {
        assert!(
            self.0 == *expected,
            "expected the reply {expected:?}, found {:?}",
            self.0
        );
    }
}

pub(super) fn list(events: &[Stored]) -> String {
    if events.is_empty() {
        return "no events".to_owned();
    }
    let types: Vec<String> = events
        .iter()
        .map(|event| format!("`{}` {}", event.event_type, event.data))
        .collect();
    format!("the events {}", types.join(", "))
}

#[track_caller]
pub(super) fn compare(heading: &str, expected: &[Stored], found: &[Stored]) {
    let mut lines = Vec::new();
    for number in 0..expected.len().max(found.len()) {
        let place = format!("event {}", number + 1);
        match (expected.get(number), found.get(number)) {
            (Some(expected), Some(found)) if expected.event_type == found.event_type => {
                let fields = differences(&expected.data, &found.data);
                let of_type = |field| format!("{place}, `{}`: {field}", expected.event_type);
                lines.extend(fields.into_iter().map(of_type));
            }
            (Some(expected), Some(found)) => lines.push(format!(
                "{place}: expected `{}` {}, found `{}` {}",
                expected.event_type, expected.data, found.event_type, found.data
            )),
            (Some(expected), None) => lines.push(format!(
                "{place}: expected `{}` {}, found nothing",
                expected.event_type, expected.data
            )),
            (None, Some(found)) => lines.push(format!(
                "{place}: expected nothing, found `{}` {}",
                found.event_type, found.data
            )),
            (None, None) => {}
        }
    }
    report(heading, &lines);
}

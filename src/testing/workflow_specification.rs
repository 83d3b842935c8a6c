//! Specifications of workflows, without a database: given inputs, when another one comes or time passes, then effects.

use super::difference::{differences, report};
use super::specification;
use crate::events::{self, Event};
use crate::workflow::{Does, Step, Workflow};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Begins the specification of a workflow: the inputs of an instance so far.
///
/// Emmett calls it `WorkflowSpecification`. A specification needs no database, and its clock moves only when it is told to.
/// Effects are compared as they would be stored, by type and JSON.
///
/// ```
/// use emmett_postgresql::testing::given_workflow;
/// use emmett_postgresql::workflow::{Does, Step, Workflow};
/// use emmett_postgresql::{Event, Recorded};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// #[derive(Serialize, Deserialize)]
/// enum Input {
///     Placed { order: String },
///     Paid { order: String },
///     TimedOut,
/// }
/// impl Event for Input {}
///
/// #[derive(Serialize, Deserialize)]
/// enum Output {
///     Cancelled,
/// }
/// impl Event for Output {}
///
/// #[derive(Default)]
/// struct Checkout;
///
/// const DEADLINE: Duration = Duration::from_secs(30 * 60);
///
/// impl Workflow for Checkout {
///     type Input = Input;
///     type Output = Output;
///     const NAME: &'static str = "checkout";
///     fn id(input: &Recorded<Input>) -> Option<String> {
///         match &input.event {
///             Input::Placed { order } | Input::Paid { order } => Some(order.clone()),
///             Input::TimedOut => None,
///         }
///     }
///     fn evolve(&mut self, _: Step<&Input, &Output>) {}
///     fn decide(&self, input: &Input) -> Vec<Does<Input, Output>> {
///         match input {
///             Input::Placed { .. } => vec![Does::after("payment", DEADLINE, Input::TimedOut)],
///             Input::Paid { .. } => vec![Does::cancel("payment")],
///             Input::TimedOut => vec![Does::Publish(Output::Cancelled)],
///         }
///     }
/// }
///
/// let placed = || Input::Placed { order: "1".into() };
/// let paid = || Input::Paid { order: "1".into() };
/// given_workflow::<Checkout>([placed()]).after(DEADLINE).then([Does::Publish(Output::Cancelled)]);
/// given_workflow::<Checkout>([placed()]).when(paid()).then([Does::cancel("payment")]);
/// given_workflow::<Checkout>([placed(), paid()]).after(DEADLINE).then([]);
/// ```
pub fn given_workflow<W: Workflow>(inputs: impl IntoIterator<Item = W::Input>) -> GivenWorkflow<W> {
    GivenWorkflow {
        inputs: inputs.into_iter().collect(),
        start: SystemTime::UNIX_EPOCH,
    }
}

/// The inputs of an instance, before another one. Made by [`given_workflow`].
#[must_use = "a specification says what is decided"]
pub struct GivenWorkflow<W: Workflow> {
    inputs: Vec<W::Input>,
    start: SystemTime,
}

impl<W: Workflow> std::fmt::Debug for GivenWorkflow<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("GivenWorkflow")
            .field("inputs", &self.inputs.len())
            .field("start", &self.start)
            .finish()
    }
}

impl<W: Workflow> GivenWorkflow<W> {
    /// Time at which the inputs come, for timers that are set by [`Does::At`]. Defaults to the beginning of 1970.
    pub fn starting_at(mut self, time: SystemTime) -> Self {
        self.start = time;
        self
    }

    /// Passes another input.
    ///
    /// # Panics
    /// When an effect cannot be stored.
    #[track_caller]
    pub fn when(self, input: W::Input) -> ThenDoes<W> {
        let mut instance = self.begin();
        instance.effects.clear();
        instance.take(&[input]);
        ThenDoes(instance.effects)
    }

    /// Lets time pass. The timers that become due fire in the order of their due times.
    ///
    /// # Panics
    /// When an effect cannot be stored.
    #[track_caller]
    pub fn after(self, time: Duration) -> ThenDoes<W> {
        let mut instance = self.begin();
        instance.effects.clear();
        instance.pass(time);
        ThenDoes(instance.effects)
    }

    #[track_caller]
    fn begin(self) -> Simulated<W> {
        let mut instance = Simulated {
            state: W::default(),
            is_complete: false,
            now: self.start,
            timers: BTreeMap::new(),
            effects: Vec::new(),
        };
        for input in self.inputs {
            instance.take(&[input]);
        }
        instance
    }
}

/// An instance with a clock of its own.
struct Simulated<W: Workflow> {
    state: W,
    is_complete: bool,
    now: SystemTime,
    /// By name: the due time, and the input as it would be stored.
    timers: BTreeMap<String, (SystemTime, Encoded)>,
    effects: Vec<Does<W::Input, W::Output>>,
}

impl<W: Workflow> Simulated<W> {
    #[track_caller]
    fn take(&mut self, inputs: &[W::Input]) {
        if self.is_complete {
            return;
        }
        let mut does = Vec::new();
        for input in inputs {
            does.extend(self.state.decide(input));
            self.state.evolve(Step::Input(input));
        }
        for effect in does {
            self.carry_out(&effect);
            self.effects.push(effect);
        }
        if self.is_complete {
            self.timers.clear();
        }
    }

    #[track_caller]
    fn carry_out(&mut self, effect: &Does<W::Input, W::Output>) {
        match effect {
            Does::Publish(output) | Does::Send(_, output) => {
                self.state.evolve(Step::Output(output));
            }
            Does::After(name, delay, input) => match self.now.checked_add(*delay) {
                Some(due) => self.set(name, due, input),
                None => panic!("timer \"{name}\" is due after {delay:?}: no clock has that time"),
            },
            Does::At(name, due, input) => self.set(name, *due, input),
            Does::Cancel(name) => {
                self.timers.remove(name);
            }
            Does::Complete => self.is_complete = true,
        }
    }

    #[track_caller]
    fn set(&mut self, name: &str, due: SystemTime, input: &W::Input) {
        let timer = (due, encoded(input));
        self.timers.insert(name.to_owned(), timer);
    }

    #[track_caller]
    fn pass(&mut self, time: Duration) {
        let Some(end) = self.now.checked_add(time) else {
            panic!("no clock has a time after {time:?}");
        };
        loop {
            let next = self.timers.iter().min_by_key(|(_, (due, _))| *due);
            let next = next.filter(|(_, (due, _))| *due <= end);
            let Some(name) = next.map(|(name, _)| name.clone()) else {
                self.now = end;
                return;
            };
            if let Some((due, input)) = self.timers.remove(&name) {
                self.now = self.now.max(due);
                self.take(&input.decode(&name));
            }
        }
    }
}

/// What the workflow does, to be compared with the expected effects.
#[must_use = "a specification compares the outcome"]
pub struct ThenDoes<W: Workflow>(Vec<Does<W::Input, W::Output>>);

impl<W: Workflow> std::fmt::Debug for ThenDoes<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let effects = self.0.iter().map(shown);
        formatter
            .debug_list()
            .entries(effects.map(|(name, _)| name))
            .finish()
    }
}

impl<W: Workflow> ThenDoes<W> {
    /// Expects exactly these effects, in this order.
    ///
    /// # Panics
    /// When the workflow does something else. The message lists each field that differs, and the place is the caller's line.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = Does<W::Input, W::Output>>) {
        let expected: Vec<(&str, Value)> = expected.into_iter().map(|one| shown(&one)).collect();
        let found: Vec<(&str, Value)> = self.0.iter().map(shown).collect();
        let mut lines = Vec::new();
        for number in 0..expected.len().max(found.len()) {
            let place = format!("effect {}", number + 1);
            match (expected.get(number), found.get(number)) {
                (Some((name, expected)), Some((other, found))) if name == other => {
                    let fields = differences(expected, found);
                    lines.extend(
                        fields
                            .iter()
                            .map(|field| format!("{place}, {name}: {field}")),
                    );
                }
                (expected, found) => {
                    let (expected, found) = (listed(expected), listed(found));
                    lines.push(format!("{place}: expected {expected}, found {found}"));
                }
            }
        }
        report("the workflow does something else", &lines);
    }
}

fn listed(effect: Option<&(&str, Value)>) -> String {
    effect.map_or_else(
        || "nothing".to_owned(),
        |(name, content)| format!("{name} {content}"),
    )
}

/// Returns the name of an effect, and its content as JSON.
#[track_caller]
fn shown<I: Event, O: Event>(does: &Does<I, O>) -> (&'static str, Value) {
    match does {
        Does::Publish(event) => ("Publish", message(event)),
        Does::Send(stream, command) => {
            let command = message(command);
            ("Send", json!({ "stream": stream, "command": command }))
        }
        Does::After(timer, delay, input) => {
            let input = message(input);
            let content = json!({ "timer": timer, "delay": format!("{delay:?}"), "input": input });
            ("After", content)
        }
        Does::At(timer, time, input) => {
            let input = message(input);
            let content = json!({ "timer": timer, "time": format!("{time:?}"), "input": input });
            ("At", content)
        }
        Does::Cancel(timer) => ("Cancel", json!({ "timer": timer })),
        Does::Complete => ("Complete", json!({})),
    }
}

/// Returns a message as it would be stored.
#[track_caller]
fn message<E: Event>(event: &E) -> Value {
    let stored = specification::encoded(event);
    json!({ "type": stored.event_type, "data": stored.data })
}

/// The input of a timer, as it would be stored.
struct Encoded {
    message_type: String,
    schema_version: u32,
    data: Vec<u8>,
}

#[track_caller]
fn encoded<E: Event>(event: &E) -> Encoded {
    match event.encode() {
        Ok((message_type, data)) => Encoded {
            message_type: message_type.into_owned(),
            schema_version: event.schema_version(),
            data,
        },
        Err(error) => panic!("the input of a timer cannot be stored: {error}"),
    }
}

impl Encoded {
    #[track_caller]
    fn decode<E: Event>(&self, timer: &str) -> Vec<E> {
        let stored = events::Encoded {
            stream: "specification",
            version: 1,
            message_type: &self.message_type,
            schema_version: self.schema_version,
            data: &self.data,
        };
        match stored.decode(None) {
            Ok(inputs) => inputs.collect(),
            Err(error) => panic!(
                "the input of timer \"{timer}\" cannot be read: {:#}",
                anyhow::Error::from(error)
            ),
        }
    }
}

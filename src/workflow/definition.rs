//! The trait of a workflow, and what it does.

use crate::events::{Event, Recorded};
use std::time::{Duration, SystemTime};

/// A process that reacts to inputs, keeps a state, publishes events, sends commands and waits.
///
/// Each instance has a stream, `emt:workflow:{NAME}:{id}`, with its inputs and outputs. The state is folded from it. An input
/// is decided once: its record and the outputs are stored in one transaction. Later, both are only replayed, so the code of
/// [`decide`](Workflow::decide) may change while instances are under way.
///
/// ```
/// use emmett_postgresql::workflow::{Does, Step, Workflow};
/// use emmett_postgresql::{Event, Recorded};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// #[derive(Serialize, Deserialize)]
/// enum OrderEvent {
///     Placed { order: String },
///     Paid { order: String },
///     PaymentTimedOut,
/// }
/// impl Event for OrderEvent {}
///
/// #[derive(Serialize, Deserialize)]
/// enum CheckoutOutput {
///     OrderConfirmed,
///     OrderCancelled,
/// }
/// impl Event for CheckoutOutput {}
///
/// #[derive(Default)]
/// struct Checkout;
///
/// impl Workflow for Checkout {
///     type Input = OrderEvent;
///     type Output = CheckoutOutput;
///     const NAME: &'static str = "checkout";
///
///     fn id(input: &Recorded<OrderEvent>) -> Option<String> {
///         match &input.event {
///             OrderEvent::Placed { order } | OrderEvent::Paid { order } => Some(order.clone()),
///             OrderEvent::PaymentTimedOut => None,
///         }
///     }
///
///     fn evolve(&mut self, _: Step<&OrderEvent, &CheckoutOutput>) {}
///
///     fn decide(&self, input: &OrderEvent) -> Vec<Does<OrderEvent, CheckoutOutput>> {
///         let deadline = Duration::from_secs(30 * 60);
///         match input {
///             OrderEvent::Placed { .. } => {
///                 vec![Does::after("payment", deadline, OrderEvent::PaymentTimedOut)]
///             }
///             OrderEvent::Paid { .. } => {
///                 vec![Does::Publish(CheckoutOutput::OrderConfirmed), Does::Complete]
///             }
///             OrderEvent::PaymentTimedOut => {
///                 vec![Does::Publish(CheckoutOutput::OrderCancelled), Does::Complete]
///             }
///         }
///     }
/// }
/// ```
pub trait Workflow: Default + 'static {
    /// The events and commands that the workflow gets, and the inputs of its timers.
    type Input: Event;
    /// The events that the workflow publishes, and the commands that it sends.
    type Output: Event;
    /// Name of the workflow. Instances and timers are stored under it. It has no `:`.
    const NAME: &'static str;

    /// Returns the id of the instance that gets the input, or `None` to ignore the input. It is not called for the inputs of
    /// timers: they go to the instance that has set the timer.
    fn id(input: &Recorded<Self::Input>) -> Option<String>;

    /// Applies a recorded input or output to the state.
    fn evolve(&mut self, step: Step<&Self::Input, &Self::Output>);

    /// Decides what follows from an input. The state does not include this input yet. Of a message that an upcast hook splits
    /// into several inputs, it includes the earlier ones, but not what followed from them. The function has no side effects: what
    /// it returns is stored, and may be decided again if the transaction fails.
    fn decide(&self, input: &Self::Input) -> Vec<Does<Self::Input, Self::Output>>;
}

/// A recorded message of an instance: an input, or an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<I, O> {
    /// An input that the instance has got.
    Input(I),
    /// An event that it has published, or a command that it has sent.
    Output(O),
}

/// What a workflow does after an input.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Does<I, O> {
    /// Publishes an event: appends it to the stream of the instance. Readers of the workflow's [category](super::category_of)
    /// get it.
    Publish(O),
    /// Sends a command to a stream, such as that of an [outbox](crate::events::outbox_stream). It is also recorded in the stream
    /// of the instance.
    Send(String, O),
    /// Sets a timer with this name. The input follows after this time, measured by the clock of the database server from the
    /// step's transaction on. A timer of the same name is replaced.
    After(String, Duration, I),
    /// Sets a timer with this name. The input follows at this time, by the clock of the database server; at once if the time
    /// has passed. A timer of the same name is replaced.
    At(String, SystemTime, I),
    /// Cancels the timer with this name, if there is one. An input of a timer that fired before still comes.
    Cancel(String),
    /// Ends the instance. Its timers are cancelled, and later inputs are ignored.
    Complete,
}

impl<I, O> Does<I, O> {
    /// Returns [`Does::Send`].
    pub fn send(stream: impl Into<String>, command: O) -> Self {
        Self::Send(stream.into(), command)
    }

    /// Returns [`Does::After`].
    pub fn after(timer: impl Into<String>, delay: Duration, input: I) -> Self {
        Self::After(timer.into(), delay, input)
    }

    /// Returns [`Does::At`].
    pub fn at(timer: impl Into<String>, time: SystemTime, input: I) -> Self {
        Self::At(timer.into(), time, input)
    }

    /// Returns [`Does::Cancel`].
    pub fn cancel(timer: impl Into<String>) -> Self {
        Self::Cancel(timer.into())
    }
}

//! A workflow of orders, payments and deadlines, and readers of what it has recorded.

use emmett_postgresql::consumer::WorkflowProcessor;
use emmett_postgresql::events::StoredEvent;
use emmett_postgresql::workflow::{Does, Step, Workflow};
use emmett_postgresql::{Event, EventStore, RawEvent, Recorded};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

pub(crate) const LONG: Duration = Duration::from_secs(30);
pub(crate) const PROCESSOR: &str = "emt:processor:workflow:checkout";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum OrderInput {
    /// The payment has this many milliseconds.
    Placed {
        order: String,
        deadline: u64,
    },
    Paid {
        order: String,
    },
    Closed {
        order: String,
    },
    TimedOut,
}

impl Event for OrderInput {
    const CATEGORIES: &'static [&'static str] = &["Order", "Payment"];
    const FORMER_TYPES: &'static [&'static str] = &["PlacedAndPaid", "Viewed"];

    fn upcast(stored: StoredEvent) -> anyhow::Result<Vec<RawEvent>> {
        Ok(match stored.event_type.as_str() {
            "PlacedAndPaid" => {
                let paid = json!({ "order": stored.data["order"] });
                vec![
                    RawEvent::new("Placed", stored.data),
                    RawEvent::new("Paid", paid),
                ]
            }
            "Viewed" => Vec::new(),
            _ => vec![stored.into()],
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum OrderOutput {
    Reserve { order: String },
    Confirmed,
    Cancelled,
    Thanked,
}

impl Event for OrderOutput {}

#[derive(Debug, Default)]
pub(crate) struct Checkout {
    order: String,
    is_confirmed: bool,
    is_cancelled: bool,
}

impl Workflow for Checkout {
    type Input = OrderInput;
    type Output = OrderOutput;
    const NAME: &'static str = "checkout";

    fn id(input: &Recorded<OrderInput>) -> Option<String> {
        match &input.event {
            OrderInput::Placed { order, .. }
            | OrderInput::Paid { order }
            | OrderInput::Closed { order } => (order != "ignored").then(|| order.clone()),
            OrderInput::TimedOut => None,
        }
    }

    fn evolve(&mut self, step: Step<&OrderInput, &OrderOutput>) {
        match step {
            Step::Input(OrderInput::Placed { order, .. }) => self.order.clone_from(order),
            Step::Output(OrderOutput::Confirmed) => self.is_confirmed = true,
            Step::Output(OrderOutput::Cancelled) => self.is_cancelled = true,
            Step::Input(_) | Step::Output(OrderOutput::Reserve { .. } | OrderOutput::Thanked) => {}
        }
    }

    fn decide(&self, input: &OrderInput) -> Vec<Does<OrderInput, OrderOutput>> {
        halt_at(input);
        match input {
            OrderInput::Placed { order, deadline } => {
                let reserve = OrderOutput::Reserve {
                    order: order.clone(),
                };
                let deadline = Duration::from_millis(*deadline);
                vec![
                    Does::send(format!("Stock-{order}"), reserve),
                    Does::after("payment", deadline, OrderInput::TimedOut),
                ]
            }
            OrderInput::Paid { order } if order == "broken" => panic!("it is broken"),
            OrderInput::Paid { .. } if self.is_cancelled => Vec::new(),
            OrderInput::Paid { .. } => vec![
                Does::cancel("payment"),
                Does::Publish(OrderOutput::Confirmed),
            ],
            OrderInput::Closed { .. } => vec![Does::Complete],
            OrderInput::TimedOut if self.is_confirmed => Vec::new(),
            OrderInput::TimedOut => {
                vec![Does::Publish(OrderOutput::Cancelled), Does::Complete]
            }
        }
    }
}

/// A variable with the order at which a child process halts.
pub(crate) const HALT_AT: &str = "EMT_TEST_WORKFLOW_HALT";

fn halt_at(input: &OrderInput) {
    let OrderInput::Placed { order, .. } = input else {
        return;
    };
    if std::env::var(HALT_AT).is_ok_and(|at| at == *order) {
        println!("\ndeciding");
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
    }
}

/// The same workflow with other code: it asks for no reservation, and thanks for a payment.
#[derive(Debug, Default)]
pub(crate) struct Changed(Checkout);

impl Workflow for Changed {
    type Input = OrderInput;
    type Output = OrderOutput;
    const NAME: &'static str = "checkout";

    fn id(input: &Recorded<OrderInput>) -> Option<String> {
        Checkout::id(input)
    }

    fn evolve(&mut self, step: Step<&OrderInput, &OrderOutput>) {
        self.0.evolve(step);
    }

    fn decide(&self, input: &OrderInput) -> Vec<Does<OrderInput, OrderOutput>> {
        match input {
            OrderInput::Placed { .. } => Vec::new(),
            OrderInput::Paid { .. } => {
                let mut does = self.0.decide(input);
                does.push(Does::Publish(OrderOutput::Thanked));
                does
            }
            OrderInput::Closed { .. } | OrderInput::TimedOut => self.0.decide(input),
        }
    }
}

pub(crate) fn checkout() -> WorkflowProcessor {
    WorkflowProcessor::of::<Checkout>()
}

/// Handles everything that is in the store, and returns the number of handled messages.
pub(crate) fn run(store: &EventStore, workflow: WorkflowProcessor) -> anyhow::Result<u64> {
    Ok(store
        .consumer()
        .workflow(workflow)
        .run_until_caught_up()?
        .handled())
}

pub(crate) fn place(store: &EventStore, order: &str, deadline: u64) -> anyhow::Result<u64> {
    let placed = OrderInput::Placed {
        order: order.to_owned(),
        deadline,
    };
    let appended = store.append_to_stream(&format!("Order-{order}"), &[placed])?;
    Ok(appended.last_global_position)
}

pub(crate) fn pay(store: &EventStore, order: &str) -> anyhow::Result<u64> {
    let paid = OrderInput::Paid {
        order: order.to_owned(),
    };
    let appended = store.append_to_stream(&format!("Payment-{order}"), &[paid])?;
    Ok(appended.last_global_position)
}

pub(crate) fn close(store: &EventStore, order: &str) -> anyhow::Result<u64> {
    let closed = OrderInput::Closed {
        order: order.to_owned(),
    };
    let appended = store.append_to_stream(&format!("Order-{order}"), &[closed])?;
    Ok(appended.last_global_position)
}

pub(crate) fn stream(order: &str) -> String {
    format!("emt:workflow:checkout:{order}")
}

pub(crate) fn recorded(
    store: &EventStore,
    stream: &str,
) -> anyhow::Result<Vec<Recorded<RawEvent>>> {
    Ok(store.read_stream::<RawEvent>(stream)?.events)
}

/// The types of a stream's messages.
pub(crate) fn types(store: &EventStore, stream: &str) -> anyhow::Result<Vec<String>> {
    let messages = recorded(store, stream)?;
    Ok(messages
        .into_iter()
        .map(|message| message.message_type)
        .collect())
}

/// The number of timers that have not fired.
pub(crate) fn waiting(client: &mut postgres::Client) -> i64 {
    let row = client.query_one("SELECT count(*) FROM emt_timers", &[]);
    row.expect("the timers").get(0)
}

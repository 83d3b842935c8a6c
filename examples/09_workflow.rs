//! A checkout that waits for a payment: specified without a database, then run with a deadline of a moment.
//!
//! `cargo run --example 09_workflow`

use emmett_postgresql::consumer::WorkflowProcessor;
use emmett_postgresql::testing::{self, given_workflow};
use emmett_postgresql::workflow::{Does, Step, Workflow};
use emmett_postgresql::{Event, EventStore, FailurePolicy, Reactor, Recorded};
use serde::{Deserialize, Serialize};
use std::sync::mpsc::channel;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum Input {
    Placed { order: String },
    Paid { order: String },
    TimedOut,
}
impl Event for Input {}

#[derive(Debug, Serialize, Deserialize)]
enum Output {
    Confirmed { order: String },
    Cancelled { order: String },
}
impl Event for Output {}

#[derive(Default)]
struct Checkout {
    order: String,
}

const DEADLINE: Duration = Duration::from_millis(300);

impl Workflow for Checkout {
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "checkout";

    fn id(input: &Recorded<Input>) -> Option<String> {
        match &input.event {
            Input::Placed { order } | Input::Paid { order } => Some(order.clone()),
            Input::TimedOut => None,
        }
    }

    fn evolve(&mut self, step: Step<&Input, &Output>) {
        if let Step::Input(Input::Placed { order }) = step {
            self.order.clone_from(order);
        }
    }

    fn decide(&self, input: &Input) -> Vec<Does<Input, Output>> {
        let order = self.order.clone();
        match input {
            Input::Placed { .. } => vec![Does::after("payment", DEADLINE, Input::TimedOut)],
            Input::Paid { .. } => vec![Does::Publish(Output::Confirmed { order }), Does::Complete],
            Input::TimedOut => vec![Does::Publish(Output::Cancelled { order }), Does::Complete],
        }
    }
}

fn main() -> anyhow::Result<()> {
    let placed = |order: &str| Input::Placed {
        order: order.to_owned(),
    };
    let paid = |order: &str| Input::Paid {
        order: order.to_owned(),
    };
    let cancelled = Output::Cancelled { order: "1".into() };
    let given = || given_workflow::<Checkout>([placed("1")]);
    given()
        .after(DEADLINE)
        .then([Does::Publish(cancelled), Does::Complete]);
    let confirmed = Output::Confirmed { order: "1".into() };
    given()
        .when(paid("1"))
        .then([Does::Publish(confirmed), Does::Complete]);
    println!("specified: without a payment, an order is cancelled after {DEADLINE:?}");

    let database = testing::database()?;
    let store = EventStore::open(database.url())?;
    let (said, outcomes) = channel();
    let shown = Reactor::new("shown")
        .each(move |output: &Recorded<Output>, _| Ok(said.send(format!("{:?}", output.event))?))
        .categories(&["emt:workflow:checkout"]);
    let checkout = WorkflowProcessor::of::<Checkout>().on_failure(FailurePolicy::park());
    let consumer = store.consumer().workflow(checkout).reactor(shown).start()?;
    store.append_to_stream("Order-1", &[placed("1")])?;
    store.append_to_stream("Order-2", &[placed("2")])?;
    store.append_to_stream("Payment-1", &[paid("1")])?;
    println!("published: {}", outcomes.recv()?);
    println!("published: {}", outcomes.recv()?);
    consumer.stop()?;
    println!("next: cargo run --example 10_outbox");
    Ok(())
}

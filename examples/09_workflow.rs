//! A checkout that waits for a payment: specified without a database, then run with a deadline of a moment.
//!
//! `cargo run --example 09_workflow`

use emmett_postgresql::consumer::WorkflowProcessor;
use emmett_postgresql::testing::{self, given_workflow};
use emmett_postgresql::workflow::{Does, Step, Workflow, category_of};
use emmett_postgresql::{Event, EventStore, Reactor, Recorded};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum Input {
    Placed(String),
    Paid(String),
    TimedOut,
}
impl Event for Input {}

#[derive(Debug, Serialize, Deserialize)]
enum Output {
    Confirmed,
    Cancelled,
}
impl Event for Output {}

#[derive(Default)]
struct Checkout;

const DEADLINE: Duration = Duration::from_millis(300);

impl Workflow for Checkout {
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "checkout";

    fn id(input: &Recorded<Input>) -> Option<String> {
        match &input.event {
            Input::Placed(order) | Input::Paid(order) => Some(order.clone()),
            Input::TimedOut => None,
        }
    }

    fn evolve(&mut self, _: Step<&Input, &Output>) {}

    fn decide(&self, input: &Input) -> Vec<Does<Input, Output>> {
        match input {
            Input::Placed(_) => vec![Does::after("payment", DEADLINE, Input::TimedOut)],
            Input::Paid(_) => vec![Does::Publish(Output::Confirmed), Does::Complete],
            Input::TimedOut => vec![Does::Publish(Output::Cancelled), Does::Complete],
        }
    }
}

fn main() -> anyhow::Result<()> {
    let (placed, paid) = (|| Input::Placed("1".into()), || Input::Paid("1".into()));
    given_workflow::<Checkout>([placed()])
        .when(paid())
        .then([Does::Publish(Output::Confirmed), Does::Complete]);
    given_workflow::<Checkout>([placed()])
        .after(DEADLINE)
        .then([Does::Publish(Output::Cancelled), Does::Complete]);
    println!("specified: without a payment, an order is cancelled after {DEADLINE:?}");

    let database = testing::database()?;
    let store = EventStore::open(database.url())?;
    let (said, outcomes) = std::sync::mpsc::channel();
    let shown = Reactor::new("shown")
        .each(move |done: &Recorded<Output>, _| {
            Ok(said.send(format!("{}: {:?}", done.stream_name, done.event))?)
        })
        .categories(&[&category_of::<Checkout>()]);
    let checkout = WorkflowProcessor::of::<Checkout>();
    let consumer = store.consumer().workflow(checkout).reactor(shown).start()?;
    store.append_to_stream("Order-1", &[placed(), Input::Placed("2".into())])?;
    store.append_to_stream("Payment-1", &[paid()])?;
    println!("{}\n{}", outcomes.recv()?, outcomes.recv()?);
    consumer.stop()?;
    println!("next: cargo run --example 10_outbox");
    Ok(())
}

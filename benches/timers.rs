//! Timers of workflows: how long many of them take that are due at once.

use crate::harness::Harness;
use anyhow::Result;
use emmett_postgresql::consumer::WorkflowProcessor;
use emmett_postgresql::testing::Server;
use emmett_postgresql::workflow::{Does, Step, TimerOptions, Workflow};
use emmett_postgresql::{Event, EventStore, RawEvent, Recorded};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

#[derive(Serialize, Deserialize)]
enum Input {
    Placed { order: u32 },
    TimedOut,
}
impl Event for Input {}

#[derive(Serialize, Deserialize)]
enum Output {
    Cancelled,
}
impl Event for Output {}

#[derive(Default)]
struct Checkout;

impl Workflow for Checkout {
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "checkout";

    fn id(input: &Recorded<Input>) -> Option<String> {
        match &input.event {
            Input::Placed { order } => Some(order.to_string()),
            Input::TimedOut => None,
        }
    }

    fn evolve(&mut self, _: Step<&Input, &Output>) {}

    fn decide(&self, input: &Input) -> Vec<Does<Input, Output>> {
        match input {
            Input::Placed { .. } => {
                vec![Does::after(
                    "payment",
                    Duration::from_secs(86_400),
                    Input::TimedOut,
                )]
            }
            Input::TimedOut => vec![Does::Publish(Output::Cancelled), Does::Complete],
        }
    }
}

/// From the time at which the timers are due to the last output.
pub(crate) fn run(harness: &Harness, server: &Server) -> Result<()> {
    let name = "fire 10,000 timers with 4 workers";
    if !harness.wants(name) {
        return Ok(());
    }
    let timers = if harness.is_quick() { 100 } else { 10_000 };
    let database = server.create_database()?;
    let store = EventStore::open(database.url())?;
    let orders: Vec<Input> = (0..timers).map(|order| Input::Placed { order }).collect();
    for some in orders.chunks(1_000) {
        store.append_to_stream("Order-1", some)?;
    }
    let checkout = || WorkflowProcessor::of::<Checkout>().workers(4);
    let begun = Instant::now();
    let handled = store
        .consumer()
        .workflow(checkout())
        .run_until_caught_up()?;
    let per_second = f64::from(timers) / begun.elapsed().as_secs_f64();
    println!(
        "{} inputs that set a timer: {per_second:.0} a second",
        handled.handled()
    );

    let mut client = database.client()?;
    client.batch_execute("VACUUM ANALYZE")?;
    client.execute("UPDATE emt_timers SET due_at = clock_timestamp()", &[])?;
    let begun = Instant::now();
    let consumer = store.consumer().workflow(checkout()).start()?;
    let next = TimerOptions::new().limit(1);
    while !store.timers(&next)?.is_empty() {
        let short = Duration::from_millis(20);
        let _ = crossbeam_channel::never::<()>().recv_timeout(short);
    }
    let head = store.feed_horizon(0)?.head;
    store.wait_for(
        "emt:processor:workflow:checkout",
        head,
        Duration::from_secs(600),
    )?;
    println!("{name}: {:.2} s", begun.elapsed().as_secs_f64());
    consumer.stop()?;
    let fired = store.read_stream::<RawEvent>("emt:timers:checkout:1")?;
    anyhow::ensure!(fired.current_version == 1, "a timer has fired twice");
    Ok(())
}

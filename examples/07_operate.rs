//! Looks at a processor that could not handle an event, mends it, and has the event handled again.
//!
//! `cargo run --example 07_operate`; `emmett consumers` and `emmett doctor` do the same on the command line.

use emmett_postgresql::operations::{ParkedOptions, ParkedSelection};
use emmett_postgresql::{Event, EventStore, FailurePolicy, Reactor, Recorded, testing};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum OrderEvent {
    Placed { client: String },
}
impl Event for OrderEvent {}

/// Parks what it cannot handle; other streams go on.
fn mails(can_send: fn(&str) -> bool) -> Reactor {
    Reactor::new("mails")
        .each(move |recorded: &Recorded<OrderEvent>, _context| {
            let OrderEvent::Placed { client } = &recorded.event;
            anyhow::ensure!(can_send(client), "no mail can be sent to {client}");
            println!("mail to {client}");
            Ok(())
        })
        .on_failure(FailurePolicy::park())
}

fn run(store: &EventStore, mails: Reactor) -> anyhow::Result<()> {
    let report = store.consumer().reactor(mails).run_until_caught_up()?;
    println!("events handled: {}", report.handled());
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let database = testing::database()?;
    let store = EventStore::open(database.url())?;
    for (stream, client) in [("Order-1", "zoë"), ("Order-2", "anna")] {
        let client = client.to_owned();
        store.append_to_stream(stream, &[OrderEvent::Placed { client }])?;
    }

    run(&store, mails(str::is_ascii))?;
    for status in store.processors().list()? {
        println!(
            "{}: {}, lag {}, parked {}",
            status.name, status.state, status.lag, status.parked
        );
    }
    for parked in store.processors().parked("mails", ParkedOptions::new())? {
        let error = parked.error.unwrap_or_default();
        println!(
            "parked: {} {}: {error}",
            parked.stream_name, parked.message_type
        );
    }

    // After the program was mended, it handles the event again.
    store.processors().replay("mails", &ParkedSelection::All)?;
    run(&store, mails(|_| true))?;

    let report = store.doctor()?;
    println!("doctor: {} findings", report.findings.len());
    println!("next: cargo run --example 08_decide");
    Ok(())
}

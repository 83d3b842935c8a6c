//! Reacts to events in the background: each order gets a mail.
//!
//! `cargo run --example 03_consumer`

use emmett_postgresql::testing::{self, ConsumerSpec};
use emmett_postgresql::{Event, EventStore, FailurePolicy, Reactor, Recorded};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum OrderEvent {
    Placed { client: String },
}
impl Event for OrderEvent {}

/// Runs at least once for each event: after a crash, the last mail may be sent again.
fn send_mail(recorded: &Recorded<OrderEvent>) {
    let OrderEvent::Placed { client } = &recorded.event;
    println!("mail to {client}: thank you for {}", recorded.stream_name);
}

fn mails() -> Reactor {
    Reactor::new("mails")
        .each(|recorded, _context| {
            send_mail(recorded);
            Ok(())
        })
        .on_failure(FailurePolicy::park().retries(5, Duration::from_secs(1)))
}

fn placed(client: &str) -> OrderEvent {
    let client = client.to_owned();
    OrderEvent::Placed { client }
}

fn main() -> anyhow::Result<()> {
    let waited = Duration::from_secs(1 + 2 + 4 + 8 + 16);
    ConsumerSpec::of(mails())
        .given("Order-1", [placed("anna")])
        .failing_at(1)
        .run()
        .parked([("Order-1", 1)])
        .waited(waited);
    println!("specified: a mail that fails is tried for {waited:?}, then parked");

    let database = testing::database()?;
    let store = EventStore::open(database.url())?;
    let consumer = store.consumer().reactor(mails()).start()?;

    let mut last = 0;
    for (stream, client) in [("Order-1", "anna"), ("Order-2", "bert")] {
        let appended = store.append_to_stream(stream, &[placed(client)])?;
        last = appended.last_global_position;
    }
    store.wait_for("mails", last, Duration::from_secs(60))?;
    let position = store.processors().position("mails")?;
    println!("mails: at position {position}");

    // Finishes the batch and gives the lease back. The next start resumes after the last event.
    consumer.stop()?;
    println!("next: cargo run --example 04_batch_job");
    Ok(())
}

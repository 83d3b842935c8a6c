//! A nightly job: brings a report up to date with the events since the last run, then ends.
//!
//! ```sh
//! cargo run --example 04_batch_job                     # on a throwaway PostgreSQL, with some events of its own
//! EMMETT_DATABASE_URL=postgresql://... 04_batch_job    # as cron or a Kubernetes CronJob would run it
//! ```
//!
//! `run_main` documents the exit codes. The job may be killed at any time: the next run resumes after the last committed batch.

use emmett_postgresql::{
    DocumentProjection, Event, EventStore, Recorded, RunUntil, run_main, testing,
};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

#[derive(Serialize, Deserialize)]
enum OrderEvent {
    Confirmed { client: String, total: f64 },
}
impl Event for OrderEvent {}

#[derive(Serialize, Deserialize, Default)]
struct Turnover {
    orders: i64,
    total: f64,
}

/// One document per client.
fn turnovers() -> DocumentProjection<Turnover> {
    let key = |recorded: &Recorded<OrderEvent>| {
        let OrderEvent::Confirmed { client, .. } = &recorded.event;
        Some(client.clone())
    };
    DocumentProjection::multi_stream("turnovers", key, |turnover: Option<Turnover>, recorded| {
        let mut turnover = turnover.unwrap_or_default();
        let OrderEvent::Confirmed { total, .. } = &recorded.event;
        turnover.orders += 1;
        turnover.total += total;
        Some(turnover)
    })
}

fn with_orders(store: EventStore) -> anyhow::Result<EventStore> {
    for (stream, client, total) in [("Order-1", "anna", 120.0), ("Order-2", "bert", 80.0)] {
        let client = client.to_owned();
        store.append_to_stream(stream, &[OrderEvent::Confirmed { client, total }])?;
    }
    Ok(store)
}

fn main() -> ExitCode {
    let mut throwaway = None;
    let exit_code = run_main(RunUntil::CaughtUp, || {
        let store = match std::env::var("EMMETT_DATABASE_URL") {
            Ok(url) => EventStore::open(&url)?,
            Err(_) => with_orders(EventStore::open(
                throwaway.insert(testing::database()?).url(),
            )?)?,
        };
        Ok(store.consumer().projector(turnovers()))
    });
    if throwaway.is_some() {
        println!("next: cargo run --example 05_documents");
    }
    exit_code
}

//! A nightly job: brings a report up to date with everything that was appended since the last run, then ends.
//!
//! ```sh
//! cargo run --example batch_job                       # on a throwaway PostgreSQL, with some events of its own
//! EMMETT_DATABASE_URL=postgresql://... batch_job      # as cron or a Kubernetes CronJob would run it
//! ```
//!
//! `run_main` documents the exit codes. It is safe to kill the job at any time: the next run goes on after the last batch that
//! was committed.

use anyhow::Result;
use emmett_postgresql::{
    DocumentProjection, Event, EventStore, Recorded, RunUntil, run_main, testing,
};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut throwaway = None;
    run_main(RunUntil::CaughtUp, || {
        let store = match std::env::var("EMMETT_DATABASE_URL") {
            Ok(url) => EventStore::open(&url)?,
            Err(_) => store_with_orders(throwaway.insert(testing::database()?))?,
        };
        Ok(store.consumer().projector(turnovers()))
    })
}

#[derive(Serialize, Deserialize)]
enum OrderEvent {
    Confirmed { client: String, total: f64 },
    Cancelled { client: String, total: f64 },
}
impl Event for OrderEvent {}

#[derive(Debug, Serialize, Deserialize, Default)]
struct Turnover {
    orders: i64,
    total: f64,
}

/// One document per client.
fn turnovers() -> DocumentProjection<Turnover> {
    DocumentProjection::multi_stream(
        "turnovers",
        |recorded: &Recorded<OrderEvent>| match &recorded.event {
            OrderEvent::Confirmed { client, .. } | OrderEvent::Cancelled { client, .. } => {
                Some(client.clone())
            }
        },
        |turnover: Option<Turnover>, recorded| {
            let mut turnover = turnover.unwrap_or_default();
            match &recorded.event {
                OrderEvent::Confirmed { total, .. } => {
                    turnover.orders += 1;
                    turnover.total += total;
                }
                OrderEvent::Cancelled { total, .. } => {
                    turnover.orders -= 1;
                    turnover.total -= total;
                }
            }
            Some(turnover)
        },
    )
}

/// Without a database of your own, a throwaway one with a few orders.
fn store_with_orders(database: &testing::Database) -> Result<EventStore> {
    let store = EventStore::open(database.url())?;
    append_orders(&store)?;
    Ok(store)
}

fn append_orders(store: &EventStore) -> Result<()> {
    for (number, (client, total)) in [("anna", 120.0), ("bert", 80.0), ("anna", 30.0)]
        .into_iter()
        .enumerate()
    {
        let client = client.to_owned();
        store.append_to_stream(
            &format!("Order-{number}"),
            &[OrderEvent::Confirmed { client, total }],
        )?;
    }
    let client = "bert".to_owned();
    store.append_to_stream(
        "Order-1",
        &[OrderEvent::Cancelled {
            client,
            total: 80.0,
        }],
    )?;
    Ok(())
}

//! A nightly job: brings a report up to date with everything that was appended since the last run, then ends.
//!
//! ```sh
//! cargo run --example batch_job                       # on a throwaway PostgreSQL, with some events of its own
//! EMMETT_DATABASE_URL=postgresql://... batch_job      # as cron or a Kubernetes CronJob would run it
//! ```
//!
//! Exit codes: 0 up to date, 75 another run is going on or it was stopped (try again later, as sendmail says it),
//! 1 failed. It is safe to kill it at any time: the next run goes on behind the last batch that was committed.

use anyhow::Result;
use emmett_postgresql::{
    DocumentProjection, Error, Event, EventStore, ProcessorError, Recorded, RunEnd, RunReport,
    StopHandle, testing,
};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::process::ExitCode;

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

/// Stops the job cleanly when the process is asked to end: the batch in hand is finished, the lease given back.
fn stop_on_signals(stop: &StopHandle) -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let stop = stop.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if signals.forever().next().is_some() {
                stop.stop();
            }
        })?;
    Ok(())
}

fn run(store: &EventStore, stop: &StopHandle) -> Result<RunReport, Error> {
    store
        .consumer()
        .projector(turnovers())
        .stop_on(stop)
        .run_until_caught_up()
}

const TRY_AGAIN_LATER: u8 = 75;

fn main() -> Result<ExitCode> {
    let stop = StopHandle::new();
    stop_on_signals(&stop)?;

    // Without a database of your own, a throwaway one with a few orders.
    let (_database, store) = if let Ok(url) = std::env::var("EMMETT_DATABASE_URL") {
        (None, EventStore::open(&url)?)
    } else {
        let database = testing::database()?;
        let store = EventStore::open(database.url())?;
        append_orders(&store)?;
        (Some(database), store)
    };

    let report = match run(&store, &stop) {
        Err(Error::Processor(ProcessorError::Busy {
            processor, owner, ..
        })) => {
            println!("{processor} is being brought up to date already, by {owner}");
            return Ok(ExitCode::from(TRY_AGAIN_LATER));
        }
        report => report?,
    };
    for processor in &report.processors {
        println!(
            "{}: {} events handled in {:.0?}, now at position {}",
            processor.name, processor.handled, report.duration, processor.position
        );
    }
    let code = match report.end {
        RunEnd::CaughtUp => ExitCode::SUCCESS,
        RunEnd::Failed(error) => return Err(error.into()),
        _ => {
            println!("stopped; the next run goes on here");
            return Ok(ExitCode::from(TRY_AGAIN_LATER));
        }
    };
    print_turnovers(&store)?;
    Ok(code)
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

fn print_turnovers(store: &EventStore) -> Result<()> {
    let best = store
        .collection::<serde_json::Value>("turnovers")
        .find(serde_json::json!({}))
        .sort(serde_json::json!({ "total": -1 }))
        .limit(10)
        .to_vec()?;
    for client in best {
        println!(
            "  {:<10} {:>3} orders {:>10}",
            client["_id"].as_str().unwrap_or_default(),
            client["orders"],
            client["total"]
        );
    }
    Ok(())
}

//! A rebuild whose process is killed leaves the live read model unchanged, and can be run again.

use super::{assert_cleaned_up, damage, folded, model, open, store_with, waiting};
use crate::support::{added, wait_until};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{Error, EventStore, error::ProjectionError};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const DATABASE: &str = "EMMETT_TEST_REBUILD_URL";
const STOP_AT: &str = "EMMETT_TEST_REBUILD_STOP_AT";
const STOPPED: &str = "the rebuild stands still";

/// What the child runs; alone it does nothing.
#[test]
fn the_process_that_is_killed() -> anyhow::Result<()> {
    let Ok(url) = std::env::var(DATABASE) else {
        return Ok(());
    };
    let stop_at: u64 = std::env::var(STOP_AT)?.parse()?;
    let store = EventStore::builder(&url)
        .inline_projection(super::items())
        .open()?;
    store
        .rebuild("items")
        .batch_size(10)
        .on_progress(|progress| {
            if progress.handled == stop_at {
                println!("{STOPPED}");
                let _ = crossbeam_channel::never::<()>().recv();
            }
        })
        .run()?;
    Ok(())
}

fn rebuild_in_a_process(database: &Database, stop_at: u64) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([
            "--exact",
            "rebuild::killed::the_process_that_is_killed",
            "--nocapture",
        ])
        .env(DATABASE, database.url())
        .env(STOP_AT, stop_at.to_string())
        .stdout(Stdio::piped());
    Ok(command.spawn()?)
}

/// The server may need a moment to notice that a process is gone.
fn rebuild_again(store: &EventStore) -> anyhow::Result<u64> {
    let mut report = None;
    wait_until("the claim of the dead is gone", || {
        let rebuilt = store.rebuild("items").run();
        let is_claimed = matches!(
            rebuilt,
            Err(Error::Projection(ProjectionError::RebuildRunning { .. }))
        );
        report = Some(rebuilt);
        !is_claimed
    });
    Ok(report.expect("it was run")?.handled)
}

#[test]
fn killed_in_the_middle_and_run_again_it_is_exact() -> anyhow::Result<()> {
    let (database, store) = store_with(50)?;
    damage(&store)?;
    let before = model(&store, "items")?;

    let mut child = rebuild_in_a_process(&database, 30)?;
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let stands = output.lines().map_while(Result::ok);
    assert!(stands.into_iter().any(|line| line.contains(STOPPED)));
    let running = store.rebuild("items").run();
    child.kill()?;
    child.wait()?;

    assert!(
        matches!(
            running,
            Err(Error::Projection(ProjectionError::RebuildRunning { .. }))
        ),
        "{running:?}"
    );
    assert_eq!(model(&store, "items")?, before, "nothing has changed yet");
    assert_eq!(rebuild_again(&store)?, 50);
    assert_eq!(model(&store, "items")?, folded(&store)?);
    assert_cleaned_up(&database)
}

#[test]
fn killed_while_it_waits_for_the_switch_and_run_again_it_is_exact() -> anyhow::Result<()> {
    let (database, store) = store_with(50)?;
    damage(&store)?;
    let mut session = open(&database)?.begin()?;
    session.append_to_stream("Cart-open", &[added("hat", 5)])?;

    let mut child = rebuild_in_a_process(&database, 0)?;
    wait_until("the switch waits for the append", || {
        waiting(&database).is_ok_and(|waiting| waiting == 1)
    });
    child.kill()?;
    child.wait()?;
    session.commit()?;

    assert_eq!(rebuild_again(&store)?, 51);
    assert_eq!(model(&store, "items")?, folded(&store)?);
    assert_cleaned_up(&database)
}

/// From PostgreSQL 17 on; an older server has no such limit.
#[test]
fn a_claim_outlives_the_time_that_a_transaction_may_take() -> anyhow::Result<()> {
    let (database, store) = store_with(30)?;
    let mut client = database.client()?;
    let known = "SELECT FROM pg_settings WHERE name = 'transaction_timeout'";
    if client.query(known, &[])?.is_empty() {
        return Ok(());
    }
    client.batch_execute(&format!(
        "ALTER DATABASE {} SET transaction_timeout = '1s'",
        database.name()
    ))?;
    drop(store);
    let store = open(&database)?;

    let rebuilt = store
        .rebuild("items")
        .batch_size(10)
        .on_progress(|_| wait_until("the claim is old or gone", || !is_young(&mut client)))
        .run()?;

    assert_eq!(rebuilt.handled, 30);
    Ok(())
}

/// Whether the claim is open, and for less time than a transaction may take.
fn is_young(client: &mut postgres::Client) -> bool {
    let young = "SELECT FROM pg_stat_activity
                  WHERE datname = current_database() AND state = 'idle in transaction'
                    AND xact_start > clock_timestamp() - INTERVAL '1.5 seconds'";
    client.query(young, &[]).is_ok_and(|rows| !rows.is_empty())
}

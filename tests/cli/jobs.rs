//! `run_main` in separate processes: exit codes, signals, and a kill in the middle. The job is the example `04_batch_job`.

use super::examples::example;
use super::process::{Run, finish};
use crate::support::store;
use emmett_postgresql::testing::Database;
use emmett_postgresql::{EventStore, RawEvent, Recorded, SqlProjection};
use serde_json::json;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn job(url: &str) -> anyhow::Result<Command> {
    let mut job = example("04_batch_job")?;
    job.env("EMMETT_DATABASE_URL", url);
    Ok(job)
}

fn orders(store: &EventStore, count: usize) -> anyhow::Result<()> {
    let order = RawEvent::new("Confirmed", json!({ "client": "anna", "total": 10.0 }));
    for number in 0..count {
        store.append_to_stream(&format!("Order-{number}"), std::slice::from_ref(&order))?;
    }
    Ok(())
}

/// How many orders the report has.
fn reported(store: &EventStore) -> anyhow::Result<i64> {
    let turnovers = store.collection::<serde_json::Value>("turnovers");
    let anna = turnovers.find_one(json!({ "_id": "anna" }))?;
    Ok(anna.and_then(|anna| anna["orders"].as_i64()).unwrap_or(0))
}

fn assert_ended(run: &Run, code: i32, stdout: &str, stderr: &str) {
    assert_eq!(run.code, code, "{run:?}");
    assert!(run.stdout.contains(stdout), "{run:?}");
    assert!(run.stderr.contains(stderr), "{run:?}");
}

#[test]
fn a_job_that_has_caught_up_exits_with_0() -> anyhow::Result<()> {
    let (database, store) = store()?;
    orders(&store, 3)?;
    let run = finish(&mut job(database.url())?)?;
    assert_ended(&run, 0, "turnovers: 3 messages handled in ", "");
    assert!(run.stdout.contains(", now at position 3"), "{run:?}");
    assert_eq!(run.stderr, "");
    assert_eq!(reported(&store)?, 3);
    Ok(())
}

#[test]
fn a_job_that_fails_exits_with_1_and_says_what_it_has_done() -> anyhow::Result<()> {
    let (database, store) = store()?;
    orders(&store, 2)?;
    store.append_to_stream(
        "Order-9",
        &[RawEvent::new("Confirmed", json!({ "client": 7 }))],
    )?;
    let run = finish(&mut job(database.url())?)?;
    assert_ended(
        &run,
        1,
        "turnovers: 2 messages handled in ",
        "error: the job failed after 2 messages: processor \"turnovers\" failed: ",
    );
    assert!(run.stderr.contains("stream \"Order-9\""), "{run:?}");
    Ok(())
}

#[test]
fn a_job_that_is_set_up_wrongly_exits_with_2() -> anyhow::Result<()> {
    let run = finish(&mut job("postgresql://localhost:notaport/shop")?)?;
    assert_ended(&run, 2, "", "error: ");
    Ok(())
}

#[test]
fn a_job_without_a_database_or_beside_another_run_exits_with_75() -> anyhow::Result<()> {
    let run = finish(&mut job("host=/nowhere dbname=shop user=anna")?)?;
    assert_ended(&run, 75, "", "error: ");

    let (database, store) = store()?;
    orders(&store, 1)?;
    let busy = SqlProjection::new("turnovers", |_: &[Recorded<RawEvent>], _| Ok(()));
    let consumer = store.consumer().projector(busy).start()?;
    store.wait_for("turnovers", 1, Duration::from_secs(60))?;
    let run = finish(&mut job(database.url())?)?;
    assert_ended(&run, 75, "", "\"turnovers\" is run by another process");
    Ok(consumer.stop()?)
}

#[test]
fn a_job_ahead_of_the_sequence_exits_with_1() -> anyhow::Result<()> {
    let (database, store) = store()?;
    orders(&store, 5)?;
    assert_eq!(finish(&mut job(database.url())?)?.code, 0);
    database.client()?.batch_execute(
        "TRUNCATE emt_messages, emt_streams; ALTER SEQUENCE emt_global_message_position RESTART",
    )?;
    orders(&store, 3)?;
    let run = finish(&mut job(database.url())?)?;
    assert_ended(&run, 1, "", "is at position 5, ahead of the sequence");
    Ok(())
}

/// A job whose batch waits, because the documents are locked until this is dropped.
struct Held {
    job: Option<Child>,
    client: postgres::Client,
}

impl Held {
    fn start(database: &Database) -> anyhow::Result<Self> {
        let mut client = database.client()?;
        client.batch_execute("BEGIN; LOCK TABLE turnovers IN SHARE ROW EXCLUSIVE MODE")?;
        let job = job(database.url())?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut held = Self {
            job: Some(job),
            client,
        };
        held.wait_for_batch()?;
        Ok(held)
    }

    fn wait_for_batch(&mut self) -> anyhow::Result<()> {
        let sql = "SELECT count(*) FROM pg_locks
                    WHERE NOT granted AND relation = 'turnovers'::REGCLASS AND mode = 'RowExclusiveLock'";
        let start = Instant::now();
        while self.client.query_one(sql, &[])?.get::<_, i64>(0) == 0 {
            anyhow::ensure!(start.elapsed() < Duration::from_secs(60), "no batch waits");
        }
        Ok(())
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = self.job.as_ref().map(Child::id).unwrap_or_default();
        let sent = Command::new("kill")
            .args([format!("-{signal}"), pid.to_string()])
            .status()?;
        anyhow::ensure!(sent.success(), "kill -{signal} failed");
        Ok(())
    }

    fn release(&mut self) -> anyhow::Result<()> {
        Ok(self.client.batch_execute("ROLLBACK")?)
    }

    fn finish(mut self) -> anyhow::Result<Run> {
        let output = self.job.take().expect("it runs").wait_with_output()?;
        Ok(Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(mut job) = self.job.take() {
            drop(job.kill());
            drop(job.wait());
        }
    }
}

/// A database with a report of one order, and 2,500 more orders: three batches.
fn prepared() -> anyhow::Result<(Database, EventStore)> {
    let (database, store) = store()?;
    orders(&store, 1)?;
    assert_eq!(finish(&mut job(database.url())?)?.code, 0);
    let order = RawEvent::new("Confirmed", json!({ "client": "anna", "total": 10.0 }));
    store.append_to_stream("Order-many", &vec![order; 2_500])?;
    Ok((database, store))
}

#[test]
fn sigterm_stops_a_job_after_its_batch_with_0_and_the_next_run_goes_on_there() -> anyhow::Result<()>
{
    for signal in ["TERM", "INT"] {
        let (database, store) = prepared()?;
        let mut held = Held::start(&database)?;
        held.signal(signal)?;
        held.release()?;

        let run = held.finish()?;

        assert_ended(&run, 0, "stopped on request; the next run resumes here", "");
        let stopped_at = reported(&store)?;
        assert!(stopped_at < 2_501, "{run:?}");
        let handled = format!("turnovers: {} messages handled in ", stopped_at - 1);
        assert!(run.stdout.contains(&handled), "{stopped_at}: {run:?}");

        let start = Instant::now();
        assert_eq!(finish(&mut job(database.url())?)?.code, 0);
        assert!(
            start.elapsed() < Duration::from_secs(8),
            "the lease was given back"
        );
        assert_eq!(reported(&store)?, 2_501);
    }
    Ok(())
}

#[test]
fn a_second_signal_ends_a_job_that_hangs() -> anyhow::Result<()> {
    let (database, _store) = prepared()?;
    let mut held = Held::start(&database)?;
    let start = Instant::now();
    // Two signals that come before the first one was heard are one.
    while held.job.as_mut().expect("it runs").try_wait()?.is_none() {
        anyhow::ensure!(start.elapsed() < Duration::from_secs(8), "it still runs");
        held.signal("TERM")?;
    }
    Ok(())
}

#[test]
fn kill_9_in_the_middle_of_a_batch_loses_nothing_and_counts_nothing_twice() -> anyhow::Result<()> {
    let (database, store) = prepared()?;
    let mut held = Held::start(&database)?;
    held.signal("KILL")?;
    held.release()?;
    assert_eq!(held.finish()?.code, -1);

    // Waits for the lease of the dead one.
    let run = finish(&mut job(database.url())?)?;

    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(reported(&store)?, 2_501);
    Ok(())
}

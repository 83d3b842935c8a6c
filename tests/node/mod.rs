//! Emmett for Node together with this library. `scripts/test-node` fetches it and runs these tests.

use crate::consumer::fixtures::{journal, journaled, stored};
use crate::support::{added, store, wait_until};
use anyhow::Context;
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{EventStore, database::SchemaState};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// A program of `tests/node`.
fn program(name: &str, database: &Database, arguments: &[&str]) -> anyhow::Result<Command> {
    let directory = std::env::var("EMMETT_NODE").context("run scripts/test-node")?;
    let mut command = Command::new("node");
    command
        .arg(PathBuf::from(directory).join(name))
        .arg(database.url())
        .args(arguments);
    Ok(command)
}

fn run(name: &str, database: &Database, arguments: &[&str]) -> anyhow::Result<()> {
    let run = program(name, database, arguments)?.output()?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    anyhow::ensure!(run.status.success(), "{name} failed:\n{said}");
    Ok(())
}

/// A database that Emmett has made, and ours has adopted.
fn adopted() -> anyhow::Result<(Database, EventStore)> {
    let database = Server::shared()?.create_database()?;
    run("migrate.mjs", &database, &[])?;
    let store = EventStore::builder(database.url()).open_unchecked()?;
    assert_eq!(store.schema().state()?, SchemaState::Emmett);
    store.schema().migrate()?;
    Ok((database, store))
}

fn catch_up(store: &EventStore) -> anyhow::Result<()> {
    let consumer = store.consumer().projector(journal("carts"));
    Ok(consumer.run_until_caught_up().map(drop)?)
}

#[test]
#[ignore = "needs Emmett for Node: scripts/test-node"]
fn a_service_does_all_that_it_can_on_a_database_of_ours() -> anyhow::Result<()> {
    let (database, _store) = store()?;
    run("service.mjs", &database, &[])
}

#[test]
#[ignore = "needs Emmett for Node: scripts/test-node"]
fn a_service_does_all_that_it_can_on_a_database_that_emmett_made() -> anyhow::Result<()> {
    let (database, store) = adopted()?;
    run("service.mjs", &database, &[])?;
    run("migrate.mjs", &database, &[])?;
    assert!(matches!(
        store.schema().state()?,
        SchemaState::Current { .. }
    ));
    Ok(())
}

#[test]
#[ignore = "needs Emmett for Node: scripts/test-node"]
fn a_service_that_migrates_a_database_of_ours_is_mended() -> anyhow::Result<()> {
    let (database, store) = store()?;
    run("migrate.mjs", &database, &[])?;
    assert!(matches!(
        store.schema().state()?,
        SchemaState::Replaced { .. }
    ));
    assert!(run("carts.mjs", &database, &["once"]).is_err());

    store.schema().migrate()?;

    run("service.mjs", &database, &[])?;
    run("migrate.mjs", &database, &[])?;
    assert!(matches!(
        store.schema().state()?,
        SchemaState::Current { .. }
    ));
    Ok(())
}

/// Both in turns, on one checkpoint: each event is handled once, in the order of the feed.
fn take_turns(database: &Database, store: &EventStore, node_first: bool) -> anyhow::Result<()> {
    for turn in 0..4 {
        store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;
        run("carts.mjs", database, &["append", "Cart-1"])?;
        if (turn % 2 == 0) == node_first {
            run("carts.mjs", database, &["once"])?;
        } else {
            catch_up(store)?;
        }
    }
    // Emmett shows no message while an older transaction of the server is open.
    catch_up(store)?;
    let handled = journaled(&mut database.client()?, "carts")?;
    assert_eq!(handled, stored(&mut database.client()?)?);
    assert_eq!(handled.len(), 12);
    assert_eq!(store.processors().list()?.len(), 1);
    Ok(())
}

#[test]
#[ignore = "needs Emmett for Node: scripts/test-node"]
fn both_keep_one_read_model_in_turns() -> anyhow::Result<()> {
    for node_first in [true, false] {
        let (database, ours) = store()?;
        take_turns(&database, &ours, node_first)?;
        let (database, adopted) = adopted()?;
        take_turns(&database, &adopted, node_first)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs Emmett for Node: scripts/test-node"]
fn what_a_service_has_done_before_the_adoption_is_not_done_again() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    run("migrate.mjs", &database, &[])?;
    for _ in 0..3 {
        run("carts.mjs", &database, &["append", "Cart-1"])?;
    }
    run("carts.mjs", &database, &["once"])?;

    let store = EventStore::open(database.url())?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    catch_up(&store)?;

    assert_eq!(journaled(&mut database.client()?, "carts")?, [1, 2, 3, 4]);
    Ok(())
}

/// A service that runs until its input ends.
struct Service(Child);

impl Service {
    fn start(database: &Database) -> anyhow::Result<Self> {
        let mut process = program("carts.mjs", database, &["wait"])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = process.stdout.take().context("a pipe")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        anyhow::ensure!(line.trim() == "started", "it said {line:?}");
        Ok(Self(process))
    }

    fn stop(mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs Emmett for Node: scripts/test-node"]
fn each_waits_for_the_other() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let service = Service::start(&database)?;
    wait_until("the service has handled the event", || {
        journaled(&mut client, "carts").is_ok_and(|handled| handled == [1])
    });

    let consumer = store.consumer().projector(journal("carts")).start()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("carts", 2, PATIENCE)?;
    assert_eq!(consumer.handled("carts"), 0, "the service has it");
    service.stop()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.wait_for("carts", 3, PATIENCE)?;
    assert_eq!(consumer.handled("carts"), 1);

    assert!(
        run("carts.mjs", &database, &["once"]).is_err(),
        "the program has it"
    );
    consumer.stop()?;
    run("carts.mjs", &database, &["once"])?;
    assert_eq!(journaled(&mut client, "carts")?, [1, 2, 3]);
    Ok(())
}

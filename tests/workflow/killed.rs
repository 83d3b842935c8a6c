//! Processes that are killed in the middle of a step: the streams are those of an undisturbed run.

use super::child;
use super::fixtures::{
    PROCESSOR, checkout, close, pay, place, recorded, run, stream, types, waiting,
};
use crate::support::{database, store, wait_until};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{ConnectionOptions, EventStore};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The messages of each stream: type and content. Ids and positions differ from run to run.
type Streams = BTreeMap<String, Vec<(String, Value)>>;

/// All streams, except those of the inputs.
fn streams(store: &EventStore, client: &mut postgres::Client) -> anyhow::Result<Streams> {
    let names = "SELECT stream_id FROM emt_streams WHERE stream_id !~ '^(Order|Payment)-'";
    let mut streams = Streams::new();
    for row in client.query(names, &[])? {
        let name: String = row.get(0);
        let messages = recorded(store, &name)?.into_iter();
        let messages = messages.map(|message| (message.message_type, message.event.data));
        streams.insert(name, messages.collect());
    }
    Ok(streams)
}

/// The inputs of several orders, of which some are paid, some are closed, and the others are cancelled by their timers.
fn place_orders(store: &EventStore, orders: usize) -> anyhow::Result<()> {
    for order in 0..orders {
        let name = order.to_string();
        let deadline = if order % 4 < 2 { 3_600_000 } else { 1 };
        place(store, &name, deadline)?;
        match order % 4 {
            0 => pay(store, &name)?,
            1 => close(store, &name)?,
            _ => continue,
        };
    }
    Ok(())
}

/// Whether everything has happened that can happen.
fn is_finished(store: &EventStore, orders: usize) -> bool {
    (0..orders).all(|order| {
        let last = match order % 4 {
            0 => "Confirmed",
            1 => "checkout:Closed",
            _ => "Cancelled",
        };
        let types = types(store, &stream(&order.to_string()));
        types.is_ok_and(|types| types.last().is_some_and(|found| found == last))
    })
}

/// A thousand orders take longer than other tests may wait.
fn wait_for_orders(store: &EventStore, orders: usize) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !is_finished(store, orders) {
        assert!(Instant::now() < deadline, "the orders are not finished");
        std::thread::yield_now();
    }
}

/// The streams of a run that nothing disturbs.
fn undisturbed(orders: usize) -> anyhow::Result<Streams> {
    let (database, store) = store()?;
    let consumer = store.consumer().workflow(checkout()).start()?;
    place_orders(&store, orders)?;
    wait_for_orders(&store, orders);
    consumer.stop()?;
    streams(&store, &mut database.client()?)
}

/// The key of the lock at which a transaction halts.
const HALT: i64 = 4_711;

/// Lets the first transaction that comes to this point wait for a lock.
fn halt_at(
    client: &mut postgres::Client,
    table: &str,
    event: &str,
    when: &str,
    is_at_commit: bool,
) -> anyhow::Result<()> {
    let (constraint, deferred) = if is_at_commit {
        ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED")
    } else {
        ("", "")
    };
    client.batch_execute(&format!(
        "CREATE FUNCTION halt() RETURNS TRIGGER LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM pg_advisory_xact_lock({HALT});
             RETURN NULL;
         END $$;
         CREATE {constraint} TRIGGER halts AFTER {event} ON {table} {deferred}
             FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION halt()"
    ))?;
    Ok(())
}

fn is_halted(client: &mut postgres::Client) -> bool {
    let waits = format!(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = {HALT} AND NOT granted)"
    );
    client.query_one(&waits, &[]).is_ok_and(|row| row.get(0))
}

/// Kills a process whose transaction has come to a point, and compares the streams after another process has gone on.
fn killed_at(table: &str, event: &str, when: &str, is_at_commit: bool) -> anyhow::Result<()> {
    const ORDERS: usize = 4;
    let database = database();
    let store = EventStore::open(database.url())?;
    let (mut client, mut holder) = (database.client()?, database.client()?);
    holder.execute("SELECT pg_advisory_lock($1)", &[&HALT])?;
    halt_at(&mut client, table, event, when, is_at_commit)?;
    let mut child = child::start(database.url())?;
    place_orders(&store, ORDERS)?;
    wait_until("a transaction is at the point", || is_halted(&mut client));
    child.kill()?;
    holder.execute("SELECT pg_advisory_unlock($1)", &[&HALT])?;

    assert_finishes(&database, &store, ORDERS)
}

fn assert_finishes(database: &Database, store: &EventStore, orders: usize) -> anyhow::Result<()> {
    let _next = child::start(database.url())?;
    wait_for_orders(store, orders);
    let mut client = database.client()?;
    assert_eq!(streams(store, &mut client)?, undisturbed(orders)?);
    assert_eq!(
        waiting(&mut client),
        0,
        "closed and paid orders have no timers"
    );
    let processors = store.processors().list()?;
    assert_eq!((processors[0].parked, &*processors[0].name), (0, PROCESSOR));
    Ok(())
}

const MESSAGES: &str = "emt_messages_emt_default_active";

#[test]
fn killed_while_it_sets_a_timer() -> anyhow::Result<()> {
    killed_at("emt_timers", "INSERT", "TRUE", false)
}

#[test]
fn killed_while_it_cancels_a_timer() -> anyhow::Result<()> {
    killed_at(
        "emt_timers",
        "DELETE",
        "OLD.due_at > OLD.set_at + INTERVAL '1 minute'",
        false,
    )
}

#[test]
fn killed_while_it_takes_a_due_timer() -> anyhow::Result<()> {
    killed_at(
        "emt_timers",
        "DELETE",
        "OLD.due_at < OLD.set_at + INTERVAL '1 minute'",
        false,
    )
}

#[test]
fn killed_while_it_records_an_input() -> anyhow::Result<()> {
    killed_at(
        MESSAGES,
        "INSERT",
        "NEW.message_type = 'checkout:Paid'",
        false,
    )
}

#[test]
fn killed_while_it_sends_a_command() -> anyhow::Result<()> {
    killed_at(MESSAGES, "INSERT", "NEW.stream_id ~ '^Stock-'", false)
}

#[test]
fn killed_while_it_appends_the_input_of_a_timer() -> anyhow::Result<()> {
    killed_at(MESSAGES, "INSERT", "NEW.stream_id ~ '^emt:timers:'", false)
}

#[test]
fn killed_while_it_moves_the_checkpoint() -> anyhow::Result<()> {
    killed_at(
        "emt_processor_slots",
        "UPDATE",
        "NEW.position > OLD.position",
        false,
    )
}

#[test]
fn killed_while_it_commits_a_step() -> anyhow::Result<()> {
    killed_at(MESSAGES, "INSERT", "NEW.message_type = 'Reserve'", true)
}

#[test]
fn killed_while_it_commits_a_fired_timer() -> anyhow::Result<()> {
    killed_at(MESSAGES, "INSERT", "NEW.stream_id ~ '^emt:timers:'", true)
}

#[test]
fn killed_while_it_decides() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::open(database.url())?;
    let mut halting = child::start_halting(database.url(), "2")?;
    place_orders(&store, 4)?;
    halting.wait_for("deciding")?;
    halting.kill()?;
    assert_finishes(&database, &store, 4)
}

/// Few are enough; `.ci/run --long` takes 1,000.
fn orders() -> usize {
    let orders = std::env::var("EMMETT_TEST_WORKFLOWS").ok();
    orders.and_then(|text| text.parse().ok()).unwrap_or(200)
}

#[test]
fn two_processes_compete_and_one_is_killed_again_and_again() -> anyhow::Result<()> {
    let orders = orders();
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(4))
        .open()?;
    let _survivor = child::start(database.url())?;
    let mut killed = child::start(database.url())?;
    for order in 0..orders {
        let name = order.to_string();
        let deadline = if order % 4 < 2 { 3_600_000 } else { 1 };
        place(&store, &name, deadline)?;
        match order % 4 {
            0 => pay(&store, &name).map(|_| ())?,
            1 => close(&store, &name).map(|_| ())?,
            _ => {}
        }
        if order % (orders / 5) == orders / 10 {
            killed.kill()?;
            killed = child::start(database.url())?;
        }
    }
    wait_for_orders(&store, orders);
    drop(killed);
    assert_eq!(
        streams(&store, &mut database.client()?)?,
        undisturbed(orders)?
    );
    Ok(())
}

#[test]
fn changed_code_goes_on_with_the_instances_that_are_under_way() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let orders = 50;
    for order in 0..orders {
        place(&store, &order.to_string(), 3_600_000)?;
    }
    run(&store, checkout())?;
    for order in 0..orders {
        pay(&store, &order.to_string())?;
    }
    let changed = emmett_postgresql::consumer::WorkflowProcessor::of::<super::fixtures::Changed>();
    run(&store, changed)?;
    for order in 0..orders {
        assert_eq!(
            types(&store, &stream(&order.to_string()))?,
            [
                "checkout:Placed",
                "Reserve",
                "checkout:Paid",
                "Confirmed",
                "Thanked"
            ],
            "recorded steps are replayed, and the new code decides the next one"
        );
    }
    Ok(())
}

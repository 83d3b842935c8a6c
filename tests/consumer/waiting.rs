//! Transient database errors: a processor waits, shows the reason, and continues. Its handler is not blamed.

use super::fixtures::{counted, counts};
use crate::support::{CartEvent, added, store, wait_until};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    EventStore, FailurePolicy, Projector, RawEvent, Reactor, Recorded,
    consumer::Consumer,
    operations::{ParkedOptions, ProcessorState},
};
use postgres::Client;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);
const LEASE: Duration = Duration::from_millis(400);

/// Holds a lock that everybody waits for, until it is dropped.
fn locking(database: &Database, table: &str) -> anyhow::Result<Client> {
    let mut client = database.client()?;
    client.batch_execute(&format!(
        "BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"
    ))?;
    Ok(client)
}

fn state(store: &EventStore) -> ProcessorState {
    store.processors().list().expect("the processors")[0].state
}

fn wait_until_waiting(consumer: &Consumer, processor: &str) -> String {
    let mut cause = String::new();
    wait_until("it waits", || {
        let waiting = consumer.waiting(processor);
        cause = waiting.map(|waiting| waiting.cause).unwrap_or_default();
        !cause.is_empty()
    });
    cause
}

/// A store whose role ends statements soon.
fn impatient(database: &Database) -> anyhow::Result<EventStore> {
    let url = format!("{}&options=-c%20statement_timeout%3D300ms", database.url());
    Ok(EventStore::builder(&url).notifications(false).open()?)
}

#[test]
fn a_locked_read_model_stops_nothing_and_parks_nothing() -> anyhow::Result<()> {
    for policy in [FailurePolicy::stop(), FailurePolicy::park()] {
        let (database, store) = store()?;
        let projector = Projector::new(counts("counts")).on_failure(policy);
        let consumer = store.consumer().projector(projector).lease(LEASE).start()?;
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        store.wait_for("counts", 1, LONG)?;

        let lock = locking(&database, "counts")?;
        let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        let cause = wait_until_waiting(&consumer, "counts");
        wait_until("everybody sees it", || {
            state(&store) == ProcessorState::Waiting
        });
        let status = &store.processors().list()?[0];
        drop(lock);
        store.wait_for("counts", appended.last_global_position, LONG)?;

        assert!(cause.contains("statement timeout"), "{cause}");
        let shown = status.last_error.as_deref().unwrap_or_default();
        assert!(shown.contains("statement timeout"), "{shown}");
        wait_until("it runs again", || {
            state(&store) == ProcessorState::Running && consumer.waiting("counts").is_none()
        });
        let parked = store.processors().parked("counts", ParkedOptions::new())?;
        assert_eq!(
            (
                parked.len(),
                counted(&store, "counts", "Cart-1")?.map(|cart| cart.events)
            ),
            (0, Some(2))
        );
        consumer.stop()?;
    }
    Ok(())
}

#[test]
fn a_locked_table_of_ours_stops_nothing() -> anyhow::Result<()> {
    for table in ["emt_processor_slots", "emt_partitions, emt_messages"] {
        let (database, store) = store()?;
        let consumer = impatient(&database)?
            .consumer()
            .projector(counts("counts"))
            .start()?;
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        store.wait_for("counts", 1, LONG)?;

        let lock = locking(&database, table)?;
        if table == "emt_processor_slots" {
            store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        }
        let cause = wait_until_waiting(&consumer, "counts");
        drop(lock);

        assert!(cause.contains("statement timeout"), "{cause}");
        let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        store.wait_for("counts", appended.last_global_position, LONG)?;
        wait_until("it waits no more", || consumer.waiting("counts").is_none());
        consumer.stop()?;
    }
    Ok(())
}

/// Looks into a table, with little patience, and makes an error of its own of what the database says.
fn reworded(
    _: &Recorded<RawEvent>,
    context: &mut emmett_postgresql::ReactorContext<'_>,
) -> anyhow::Result<()> {
    context.batch_execute("SET LOCAL lock_timeout = '50ms'")?;
    let prices = context.query("SELECT FROM prices", &[]);
    anyhow::ensure!(prices.is_ok(), "no prices");
    anyhow::bail!("nothing fits")
}

#[test]
fn a_handler_is_blamed_only_when_the_database_was_well_whatever_it_says() -> anyhow::Result<()> {
    let (database, store) = store()?;
    database
        .client()?
        .batch_execute("CREATE TABLE prices (price INTEGER)")?;
    let lock = locking(&database, "prices")?;
    let pricing = Reactor::new("pricing")
        .each(reworded)
        .on_failure(FailurePolicy::park());
    let consumer = store.consumer().reactor(pricing).start()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let parked = || store.processors().parked("pricing", ParkedOptions::new());

    let cause = wait_until_waiting(&consumer, "pricing");
    let early = parked()?;
    drop(lock);

    assert!(cause.contains("no prices"), "{cause}");
    assert!(early.is_empty(), "{early:?}");
    store
        .wait_for("pricing", 1, LONG)
        .expect_err("it is parked");
    let error = parked()?[0].error.clone().unwrap_or_default();
    assert!(error.contains("nothing fits"), "{error}");
    consumer.stop()?;
    Ok(())
}

#[test]
fn an_event_whose_handler_passes_over_a_refusal_is_parked() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let careless = Reactor::new("careless")
        .each(|message: &Recorded<CartEvent>, context| {
            if &*message.stream_name == "Cart-1" {
                drop(context.query("SELECT FROM nowhere", &[]));
            }
            Ok(())
        })
        .on_failure(FailurePolicy::park());
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.append_to_stream("Cart-2", &[added("hat", 1)])?;

    let report = store.consumer().reactor(careless).run_until_caught_up()?;

    let parked = store
        .processors()
        .parked("careless", ParkedOptions::new())?;
    let streams: Vec<&str> = parked.iter().map(|one| &*one.stream_name).collect();
    assert_eq!((streams, report.handled()), (vec!["Cart-1"], 1));
    Ok(())
}

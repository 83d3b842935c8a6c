//! Transient faults of the database: every processor continues by itself, and no healthy event is parked.

use super::fixtures::{counted, counts, journal, journaled, stored};
use crate::support::{CartEvent, added, database, wait_until};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    ConnectionOptions, EventStore, FailurePolicy, FeedOptions, Projector, Reactor, Recorded,
    consumer::ConsumerBuilder, operations::ParkedOptions,
};
use postgres::Client;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WRITERS: usize = 4;
const STREAMS: usize = 5;
const LEASE: Duration = Duration::from_secs(2);
/// Longer than the lease, so that statements time out and leases run out.
const LONG: Duration = Duration::from_millis(2_500);
const PROCESSORS: [&str; 3] = ["counts", "journal", "mails"];

/// What happens to the database, and what ends it.
const FAULTS: [Fault; 6] = [
    Fault::Locked("counts"),
    Fault::Locked("journal"),
    Fault::Locked("emt_processor_slots"),
    Fault::Locked("emt_partitions"),
    Fault::Setting("statement_timeout = '1ms'"),
    // What a client meets whose name leads to a standby.
    Fault::Setting("default_transaction_read_only = on"),
];

#[derive(Clone, Copy)]
enum Fault {
    Locked(&'static str),
    /// Of the database, for all connections from now on; those that are open are ended.
    Setting(&'static str),
}

#[test]
fn locks_timeouts_and_standbys_stop_no_processor_and_park_no_event() -> anyhow::Result<()> {
    let database = database();
    let store = open(&database)?;
    let over = AtomicBool::new(false);
    let consumer = processors(&store).start()?;

    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, over) = (&store, &over);
            scope.spawn(move || write(store, writer, over));
        }
        let suffered = suffer(&database);
        over.store(true, Ordering::SeqCst);
        suffered
    })?;

    let last = store.append_to_stream("Cart-last", &[added("hat", 1)])?;
    for processor in PROCESSORS {
        store.wait_for(
            processor,
            last.last_global_position,
            Duration::from_secs(120),
        )?;
        let parked = store.processors().parked(processor, ParkedOptions::new())?;
        assert!(parked.is_empty(), "{processor}: {parked:?}");
    }
    consumer.stop()?;
    assert_all_was_handled(&store, &mut database.client()?)
}

fn open(database: &Database) -> anyhow::Result<EventStore> {
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(8))
        .open()?;
    database.client()?.batch_execute(
        "CREATE TABLE mails (stream TEXT, position BIGINT, UNIQUE (stream, position))",
    )?;
    Ok(store)
}

fn processors(store: &EventStore) -> ConsumerBuilder {
    let park = FailurePolicy::park();
    let mails = Reactor::new("mails").each(|event: &Recorded<CartEvent>, context| {
        let position = i64::try_from(event.global_position)?;
        context.execute(
            "INSERT INTO mails VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&&*event.stream_name, &position],
        )?;
        Ok(())
    });
    store
        .consumer()
        .lease(LEASE)
        .projector(
            Projector::new(counts("counts"))
                .workers(2)
                .on_failure(park.clone()),
        )
        .projector(Projector::new(journal("journal")).on_failure(park.clone()))
        .reactor(mails.on_failure(park))
}

/// Appends until it is over; what fails is not stored, or will be seen in the store.
fn write(store: &EventStore, writer: usize, over: &AtomicBool) {
    let mut number = 0;
    while !over.load(Ordering::SeqCst) {
        number += 1;
        let stream = format!("Cart-{writer}-{}", number % STREAMS);
        let _ = store.append_to_stream(&stream, &[added("hat", 1)]);
    }
}

/// One fault after the other, each for a short and for a long while.
fn suffer(database: &Database) -> anyhow::Result<()> {
    let end = Instant::now() + duration();
    loop {
        for fault in FAULTS {
            for time in [Duration::from_millis(300), LONG] {
                fault.happen(database, time)?;
            }
        }
        if Instant::now() >= end {
            return Ok(());
        }
    }
}

/// One round is enough; `.ci/run --long` takes more.
fn duration() -> Duration {
    let seconds = std::env::var("EMMETT_TEST_FIRE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

impl Fault {
    fn happen(self, database: &Database, time: Duration) -> anyhow::Result<()> {
        match self {
            Self::Locked(table) => lock(&mut database.client()?, table, time),
            Self::Setting(setting) => set(database, setting, time),
        }
    }
}

/// A fault lasts for a time: nothing says when it has done its harm.
fn last_for(time: Duration) {
    let end = Instant::now() + time;
    wait_until("the fault is over", || Instant::now() >= end);
}

fn lock(client: &mut Client, table: &str, time: Duration) -> anyhow::Result<()> {
    let mut transaction = client.transaction()?;
    transaction.batch_execute(&format!("LOCK TABLE {table}"))?;
    last_for(time);
    Ok(transaction.commit()?)
}

fn set(database: &Database, setting: &str, time: Duration) -> anyhow::Result<()> {
    let mut client = database.client()?;
    client.batch_execute("SET default_transaction_read_only = off; SET statement_timeout = 0")?;
    client.batch_execute(&format!("ALTER DATABASE {} SET {setting}", database.name()))?;
    end_connections(&mut client)?;
    last_for(time);
    client.batch_execute(&format!("ALTER DATABASE {} RESET ALL", database.name()))?;
    // Those that have the setting stay: the store has to find out.
    Ok(())
}

fn end_connections(client: &mut Client) -> anyhow::Result<()> {
    client.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid()",
        &[],
    )?;
    Ok(())
}

fn assert_all_was_handled(store: &EventStore, client: &mut Client) -> anyhow::Result<()> {
    let all = stored(client)?;
    assert_eq!(
        journaled(client, "journal")?,
        all,
        "each event once, in order"
    );
    let mails = "SELECT position FROM mails ORDER BY position";
    let mails: Vec<i64> = client
        .query(mails, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(mails, all, "the reactor has seen everything");
    for (stream, events) in folded(store)? {
        let document = counted(store, "counts", &stream)?.expect("a document");
        assert_eq!(document.events, events, "{stream}");
    }
    Ok(())
}

fn folded(store: &EventStore) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut folded = BTreeMap::new();
    for recorded in store.read_all::<CartEvent>(FeedOptions::new()) {
        *folded.entry(recorded?.stream_name.to_string()).or_default() += 1;
    }
    Ok(folded)
}

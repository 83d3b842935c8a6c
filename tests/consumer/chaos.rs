//! Exactly-once processing, despite kills of all kinds.

use super::child::{ChildConsumer, Kind};
use super::fixtures::{counted, counts, journaled, stored};
use crate::support::{CartEvent, added, database, wait_until};
use emmett_postgresql::{ConnectionOptions, EventStore};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WRITERS: usize = 8;
const STREAMS: usize = 5;

/// How long the fire lasts; the whole test is longer, because the rest is handled afterwards.
fn duration() -> Duration {
    let seconds = std::env::var("EMMETT_TEST_FIRE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

#[test]
fn no_event_is_skipped_or_counted_twice_while_processes_and_connections_are_killed()
-> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(10))
        .open()?;
    let mut client = database.client()?;
    client.batch_execute("CREATE TABLE reactions (position BIGINT)")?;
    let over = AtomicBool::new(false);

    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, over) = (&store, &over);
            scope.spawn(move || write(store, writer, over));
        }
        let fire = fight(database.url(), &mut client);
        over.store(true, Ordering::SeqCst);
        fire
    })?;

    let _last = ChildConsumer::start(database.url(), Kind::Keeps)?;
    let all = stored(&mut client)?;
    let head = u64::try_from(*all.last().expect("events"))?;
    for processor in ["counts", "journal", "reactions"] {
        store.wait_for(processor, head, Duration::from_secs(120))?;
    }

    assert_eq!(
        journaled(&mut client, "journal")?,
        all,
        "the journal has each event once, in order"
    );
    let reactions = "SELECT DISTINCT position FROM reactions ORDER BY position";
    let reactions: Vec<i64> = client
        .query(reactions, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(reactions, all, "the reactor has seen everything");
    assert_is_folded(&store)?;
    store.rebuild_with(counts("counts")).workers(2).run()?;
    assert_is_folded(&store)
}

/// The read model is a fold over the stored events.
fn assert_is_folded(store: &EventStore) -> anyhow::Result<()> {
    for (stream, (events, items)) in folded(store)? {
        let document = counted(store, "counts", &stream)?.expect("a document");
        assert_eq!(
            (document.events, document.items),
            (events, items),
            "{stream}"
        );
    }
    Ok(())
}

/// Appends until it is over; what fails is not stored, or will be seen in the store.
fn write(store: &EventStore, writer: usize, over: &AtomicBool) {
    let mut number = 0;
    while !over.load(Ordering::SeqCst) {
        number += 1;
        let stream = format!("Cart-{writer}-{}", number % STREAMS);
        let _ = store.append_to_stream(&stream, &[added("hat", 1), added("shoe", 2)]);
    }
}

/// Two processes with the same processors; every second one is killed and started anew, and connections are ended.
fn fight(url: &str, client: &mut postgres::Client) -> anyhow::Result<()> {
    let mut consumers = [
        ChildConsumer::start(url, Kind::Keeps)?,
        ChildConsumer::start(url, Kind::Keeps)?,
    ];
    let start = Instant::now();
    for round in 1.. {
        let next = Duration::from_secs(round);
        while start.elapsed() < next {
            // All connections of one kind or another, again and again.
            client.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.1",
                &[],
            )?;
            wait_for_progress(client, start, next)?;
        }
        if start.elapsed() > duration() {
            return Ok(());
        }
        let killed = usize::try_from(round)? % consumers.len();
        consumers[killed].kill()?;
        consumers[killed] = ChildConsumer::start(url, Kind::Keeps)?;
    }
    Ok(())
}

/// Waits until something was appended, or the time has come.
fn wait_for_progress(
    client: &mut postgres::Client,
    start: Instant,
    until: Duration,
) -> anyhow::Result<()> {
    let head = "SELECT last_value FROM emt_global_message_position";
    let before: i64 = client.query_one(head, &[])?.get(0);
    wait_until("something was appended", || {
        start.elapsed() >= until
            || client
                .query_one(head, &[])
                .is_ok_and(|row| row.get::<_, i64>(0) > before + 50)
    });
    Ok(())
}

/// What the read model must be: a fold over the stored events.
fn folded(store: &EventStore) -> anyhow::Result<BTreeMap<String, (u64, u32)>> {
    let mut folded: BTreeMap<String, (u64, u32)> = BTreeMap::new();
    for recorded in store.read_all::<CartEvent>(emmett_postgresql::FeedOptions::new()) {
        let recorded = recorded?;
        let entry = folded.entry(recorded.stream_name.to_string()).or_default();
        entry.0 += 1;
        if let CartEvent::ProductItemAdded { quantity, .. } = recorded.event {
            entry.1 += quantity;
        }
    }
    Ok(folded)
}

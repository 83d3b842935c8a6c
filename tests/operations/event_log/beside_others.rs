//! An import during appends to the same streams, and with readers of the feed.

use super::logs::{assert_streams_are_whole, import, plain_log};
use crate::support::{store, wait_until};
use emmett_postgresql::{
    AppendOptions, Error, EventStore, FeedOptions, RawEvent, Result, StreamMessages,
    operations::ImportOptions,
};
use serde_json::json;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};

/// Appends to the streams of the log until told to stop; returns how many messages were stored.
fn append_meanwhile(store: &EventStore, writer: u64, stop: &AtomicBool) -> Result<u64> {
    let event = RawEvent::new("Noted", json!({ "number": 0 }));
    let mut stored = 0;
    while !stop.load(Ordering::Acquire) {
        let name = format!("Case-{}", (stored + writer) % 5);
        match stored % 3 {
            0 => {
                store.append_to_stream(&name, slice::from_ref(&event))?;
                stored += 1;
            }
            1 => {
                let version = store.read_stream::<RawEvent>(&name)?.current_version;
                let options = AppendOptions::new().expected_version(version);
                match store.append_to_stream_with(&name, slice::from_ref(&event), options) {
                    Err(error) if error.is_conflict() => {}
                    appended => {
                        stored += u64::try_from(appended?.global_positions.len()).unwrap_or(0);
                    }
                }
            }
            _ => {
                let streams = ["Case-4", "Case-0", "Case-2"];
                let streams =
                    streams.map(|name| StreamMessages::new(name, slice::from_ref(&event)));
                store.append_to_streams(streams.into_iter().collect::<Result<_>>()?)?;
                stored += 3;
            }
        }
    }
    Ok(stored)
}

/// Follows the feed until told to stop, and then to its end; returns the positions in the order of delivery.
fn follow(store: &EventStore, stop: &AtomicBool) -> Result<Vec<u64>> {
    let mut seen = Vec::new();
    loop {
        let ending = stop.load(Ordering::Acquire);
        let after = seen.last().copied().unwrap_or_default();
        for recorded in store.read_all::<RawEvent>(FeedOptions::new().after(after)) {
            seen.push(recorded?.global_position);
        }
        if ending {
            return Ok(seen);
        }
    }
}

#[test]
fn appends_to_the_same_streams_and_readers_of_the_feed_see_whole_streams() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let (imported, stop) = (AtomicBool::new(false), AtomicBool::new(false));

    let (appended, seen) = std::thread::scope(|scope| {
        let (store, imported, stop) = (&store, &imported, &stop);
        let writers =
            [1, 2].map(|writer| scope.spawn(move || append_meanwhile(store, writer, imported)));
        let reader = scope.spawn(move || follow(store, stop));
        let outcome = import(store, &plain_log(1..=2_000), 40);
        imported.store(true, Ordering::Release);
        let appended = writers.map(|writer| writer.join().expect("no panic"));
        stop.store(true, Ordering::Release);
        let seen = reader.join().expect("no panic");
        outcome.map(|_| (appended, seen))
    })?;

    let [first, second] = appended;
    let feed = store.read_all::<RawEvent>(FeedOptions::new());
    let stored = feed
        .map(|recorded| Ok(recorded?.global_position))
        .collect::<Result<Vec<u64>>>()?;
    assert_eq!(stored.len() as u64, 2_000 + first? + second?);
    assert_eq!(seen?, stored, "the reader has missed nothing");
    assert_streams_are_whole(&store)
}

#[test]
fn a_batch_waits_for_an_open_append_to_its_stream_and_counts_on_from_it() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    let mut open = store.begin()?;
    open.append_to_stream("Case-1", &[RawEvent::new("Noted", json!({}))])?;

    std::thread::scope(|scope| {
        let import = scope.spawn(|| import(&store, &plain_log(1..=10), 10));
        wait_until("the import waits for the append", || {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                            WHERE datname = current_database() AND wait_event_type = 'Lock'";
            client
                .query_one(waiting, &[])
                .is_ok_and(|row| row.get::<_, i64>(0) == 1)
        });
        open.commit()?;
        import.join().expect("no panic")
    })?;

    assert_eq!(store.read_stream::<RawEvent>("Case-1")?.current_version, 3);
    assert_streams_are_whole(&store)
}

#[test]
fn an_open_batch_holds_the_feed_back_and_is_seen_as_a_whole() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;
    let mut holder = client.transaction()?;
    holder.batch_execute("LOCK TABLE emt_messages_emt_default_active IN SHARE MODE")?;
    let seen = || -> Result<usize, Error> {
        Ok(store
            .read_all::<RawEvent>(FeedOptions::new())
            .collect::<Result<Vec<_>>>()?
            .len())
    };

    std::thread::scope(|scope| -> anyhow::Result<()> {
        let import = scope.spawn(|| import(&store, &plain_log(1..=10), 10));
        wait_until("the batch has drawn its positions", || {
            store
                .feed_horizon(0)
                .is_ok_and(|horizon| horizon.head >= 10)
        });
        assert_eq!((seen()?, store.feed_horizon(0)?.position), (0, 0));
        holder.commit()?;
        import.join().expect("no panic")?;
        Ok(())
    })?;

    assert_eq!(seen()?, 10);
    Ok(())
}

#[test]
fn imports_of_different_logs_into_the_same_streams_do_not_disturb_each_other() -> anyhow::Result<()>
{
    let (_database, store) = store()?;

    std::thread::scope(|scope| {
        let import = |first: u64| {
            let options = ImportOptions::new().batch_size(25);
            store.import(plain_log(first..=first + 499).as_bytes(), options)
        };
        let threads = [1, 1_001, 2_001, 3_001].map(|first| scope.spawn(move || import(first)));
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic").map(drop))
    })?;

    assert_eq!(super::logs::numbers(&store)?.len(), 2_000);
    assert_streams_are_whole(&store)
}

/// Appends to streams that are in the archive now and then; returns how many messages were stored.
fn append_where_possible(store: &EventStore, stop: &AtomicBool) -> Result<u64> {
    let event = RawEvent::new("Noted", json!({ "number": 0 }));
    let mut stored = 0;
    while !stop.load(Ordering::Acquire) {
        let streams = ["Case-4", "Case-0", "Case-2"];
        let streams = streams.map(|name| StreamMessages::new(name, slice::from_ref(&event)));
        match store.append_to_streams(streams.into_iter().collect::<Result<_>>()?) {
            Ok(_) => stored += 3,
            Err(Error::StreamArchived { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(stored)
}

#[test]
fn streams_that_lines_move_beside_appends_lose_nothing() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    import(&store, &plain_log(1..=50), 100)?;
    // Not in the order of the names.
    let lines = |archived: bool| -> String {
        let line =
            |case: u64| format!("{{\"streamName\":\"Case-{case}\",\"archived\":{archived}}}\n");
        [4, 2, 0, 3, 1].map(line).concat()
    };
    let stop = AtomicBool::new(false);

    let (moved, appended) = std::thread::scope(|scope| {
        let (store, stop) = (&store, &stop);
        let writers = [1, 2].map(|_| scope.spawn(move || append_where_possible(store, stop)));
        let moved: Result<Vec<_>> = (0..40)
            .map(|number| {
                let options = ImportOptions::new().name(format!("move {number}"));
                store.import(lines(number % 2 == 0).as_bytes(), options)
            })
            .collect();
        stop.store(true, Ordering::Release);
        (
            moved,
            writers.map(|writer| writer.join().expect("no panic")),
        )
    });

    assert!(moved?.iter().all(|report| report.streams == 5));
    let [first, second] = appended;
    let feed = store.read_all::<RawEvent>(FeedOptions::new());
    assert_eq!(feed.count() as u64, 50 + first? + second?);
    assert!(store.doctor()?.findings.is_empty());
    assert_streams_are_whole(&store)
}

#[test]
fn lines_about_streams_lock_them_in_the_order_of_their_names() -> anyhow::Result<()> {
    let (database, store) = store()?;
    import(&store, &plain_log(1..=10), 100)?;
    store.archive_stream("Case-2")?;
    let (mut holder, mut watcher) = (database.client()?, database.client()?);
    let mut held = holder.transaction()?;
    held.batch_execute("SELECT FROM emt_streams WHERE stream_id = 'Case-1' FOR UPDATE")?;
    let line = |case: u64| format!("{{\"streamName\":\"Case-{case}\",\"archived\":true}}\n");
    let log = [4, 2, 1, 0].map(line).concat();

    std::thread::scope(|scope| {
        let import = scope.spawn(|| import(&store, &log, 10));
        let waiting = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock'";
        wait_until("the import waits for Case-1", || {
            let waiting = watcher.query_one(waiting, &[]);
            waiting.is_ok_and(|row| row.get::<_, i64>(0) == 1)
        });
        let free = "SELECT stream_id FROM emt_streams WHERE stream_id <> 'Case-1' ORDER BY 1 FOR UPDATE SKIP LOCKED";
        let free: Vec<String> = watcher
            .query(free, &[])?
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert_eq!(
            free,
            ["Case-2", "Case-3", "Case-4"],
            "Case-0 comes before, the others after"
        );
        held.commit()?;
        import.join().expect("no panic")?;
        anyhow::Ok(())
    })?;

    assert!(!store.stream_exists("Case-1")?);
    Ok(())
}

//! The maximum size of batches in bytes: in the feed, in streams, in consumers and rebuilds.

use crate::support::{database, store, wait_until_active};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, FeedOptions, Projector, RawEvent, Reactor, ReadOptions,
    Recorded, operations::ExportOptions,
};
use serde_json::{Value, json};
use std::process::Command;

/// Positions, so that the order counts, too.
fn positions(
    events: impl Iterator<Item = Result<Recorded<RawEvent>, Error>>,
) -> Result<Vec<(u64, usize)>, Error> {
    let size = |event: &RawEvent| event.data["text"].as_str().map_or(0, str::len);
    events
        .map(|one| one.map(|one| (one.stream_position, size(&one.event))))
        .collect()
}

/// Letters that do not compress.
fn noise(length: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let letters = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap_or_default())
    });
    letters.take(length).collect()
}

#[test]
fn batches_of_any_number_of_bytes_give_every_event_once_and_in_order() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let sizes = [
        10, 10, 5_000, 40_000, 10, 200_000, 3_000, 3_000, 10, 100_000, 10, 1_500,
    ];
    let events: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(index, size)| {
            let text = if index % 2 == 0 {
                noise(*size)
            } else {
                "a".repeat(*size)
            };
            RawEvent::new("Written", json!({ "text": text }))
        })
        .collect();
    store.append_to_stream("Book-1", &events)?;
    let expected: Vec<(u64, usize)> = (1..).zip(sizes).collect();
    let backwards: Vec<_> = expected.iter().rev().copied().collect();

    for bytes in [1, 1_000, 5_000, 30_000, 250_000, 16_000_000, usize::MAX] {
        let feed = FeedOptions::new().max_batch_bytes(bytes);
        let read = ReadOptions::new().max_batch_bytes(bytes);
        for size in [1, 3, 1_000] {
            let all = store.read_all::<RawEvent>(feed.clone().batch_size(size));
            assert_eq!(positions(all)?, expected, "{bytes} bytes, {size} messages");
        }
        let iterated = |options| positions(store.read_stream_iter::<RawEvent>("Book-1", options));
        assert_eq!(iterated(read)?, expected, "{bytes}");
        assert_eq!(iterated(read.backwards())?, backwards, "{bytes}");
        assert_eq!(
            iterated(read.from(3).max_count(4))?,
            expected[2..6],
            "{bytes}"
        );
        assert_eq!(iterated(read.from(13))?, []);
    }
    Ok(())
}

#[test]
fn consumers_and_rebuilds_handle_every_event_of_small_batches() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for number in 0..20 {
        let texts = [noise(10), noise(40_000), "b".repeat(100_000)];
        let events = texts.map(|text| RawEvent::new("Written", json!({ "text": text })));
        store.append_to_stream(&format!("Book-{number}"), &events)?;
    }
    for workers in [1, 3] {
        let name = format!("reactor-{workers}");
        let reactor = Reactor::new(&*name)
            .each(|_: &Recorded<RawEvent>, _| Ok(()))
            .workers(workers);
        let consumer = store.consumer().max_batch_bytes(50_000).reactor(reactor);
        assert_eq!(consumer.run_until_caught_up()?.handled(), 60);
        let rebuild = store.rebuild_with(counts("counts")).workers(workers);
        assert_eq!(rebuild.max_batch_bytes(50_000).run()?.handled, 60);
    }
    let proof = store.prove_feed(1, store.feed_horizon(0)?.position)?;
    assert!(proof.holds() && proof.messages == 60, "{proof:?}");
    Ok(())
}

#[test]
fn batches_of_nothing_are_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let feed = |options| store.read_all::<RawEvent>(options).next();
    let nothing = ReadOptions::new().max_batch_bytes(0);
    let reactor = Reactor::new("a").each(|_: &Recorded<RawEvent>, _| Ok(()));
    let rebuild = || store.rebuild_with(counts("counts")).max_batch_bytes(0);
    for refused in [
        feed(FeedOptions::new().batch_size(0)).map(|one| one.map(drop)),
        feed(FeedOptions::new().max_batch_bytes(0)).map(|one| one.map(drop)),
        store
            .read_stream_iter::<RawEvent>("A-1", nothing)
            .next()
            .map(|one| one.map(drop)),
        Some(
            store
                .consumer()
                .reactor(reactor)
                .max_batch_bytes(0)
                .start()
                .map(drop),
        ),
        Some(rebuild().run().map(drop)),
        Some(rebuild().request().map(drop)),
    ] {
        let error = refused.expect("an outcome").expect_err("is refused");
        assert!(matches!(error, Error::InvalidInput { .. }), "{error:?}");
    }
    Ok(())
}

/// Counts the events of a stream, as long as they come in order.
fn counts(name: &str) -> DocumentProjection<Value> {
    DocumentProjection::single_stream(name, |count: Option<Value>, event: &Recorded<RawEvent>| {
        let before = count.and_then(|count| count["events"].as_u64());
        let events = before.unwrap_or(0) + 1;
        (event.stream_position == events).then(|| json!({ "events": events }))
    })
}

fn counted(store: &EventStore, name: &str) -> Result<u64, Error> {
    let count = store.collection::<Value>(name).find_one(json!({}))?;
    Ok(count.map_or(0, |count| count["events"].as_u64().unwrap_or_default()))
}

/// A store with an inline projection, once that is active.
fn open_with(url: &str, name: &str) -> Result<EventStore, Error> {
    let builder = EventStore::builder(url).inline_projection(counts(name));
    let store = builder.open()?;
    wait_until_active(&store);
    Ok(store)
}

const URL: &str = "EMT_TEST_MEMORY_URL";
const READER: &str = "EMT_TEST_MEMORY_READER";
const READERS: [&str; 9] = [
    "feed",
    "stream",
    "backwards",
    "export",
    "reactor",
    "projector",
    "rebuild",
    "follower",
    "build",
];

/// 150 events of one megabyte.
const LARGE: &str = "
    INSERT INTO emt_streams (stream_id, stream_position, stream_type, stream_metadata)
    VALUES ('Book-1', 150, 'Book', '{}');
    INSERT INTO emt_messages
        (stream_position, stream_id, message_schema_version, message_id, message_type, message_data, message_metadata)
    SELECT version, 'Book-1', '1', gen_random_uuid(), 'Written', jsonb_build_object('text', {text}), '{}'
      FROM generate_series(1, 150) AS version ORDER BY version";

/// The peak of this process's memory, in megabytes.
fn peak() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.unwrap_or_default().trim().parse::<u64>()? / 1_000)
}

fn count(
    mut events: impl Iterator<Item = Result<Recorded<RawEvent>, Error>>,
) -> Result<u64, Error> {
    events.try_fold(0, |count, one| one.map(|_| count + 1))
}

fn read(url: &str, reader: &str) -> anyhow::Result<u64> {
    if ["follower", "build"].contains(&reader) {
        return Ok(counted(&open_with(url, reader)?, reader)?);
    }
    let (store, options) = (&EventStore::open(url)?, ReadOptions::new());
    Ok(match reader {
        "feed" => count(store.read_all(FeedOptions::new()))?,
        "stream" => count(store.read_stream_iter("Book-1", options))?,
        "backwards" => count(store.read_stream_iter("Book-1", options.backwards()))?,
        "export" => {
            store
                .export(std::io::sink(), ExportOptions::new())?
                .messages
        }
        "reactor" => {
            let nothing = Reactor::new("nothing").each(|_: &Recorded<RawEvent>, _| Ok(()));
            store
                .consumer()
                .reactor(nothing)
                .run_until_caught_up()?
                .handled()
        }
        "projector" => {
            let projector = Projector::new(counts("counts"));
            store
                .consumer()
                .projector(projector)
                .run_until_caught_up()?
                .handled()
        }
        _ => {
            store
                .rebuild_with(counts("counts"))
                .workers(2)
                .run()?
                .handled
        }
    })
}

/// Reads in a process of its own, whose peak is the reader's. Does nothing where it is not started so.
#[test]
fn is_a_reader_of_large_events() -> anyhow::Result<()> {
    let (Ok(url), Ok(reader)) = (std::env::var(URL), std::env::var(READER)) else {
        return Ok(());
    };
    let count = read(&url, &reader)?;
    println!("\nread {count}, peak {}", peak()?);
    Ok(())
}

fn peak_of(database: &Database, reader: &str) -> anyhow::Result<u64> {
    let output = Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "events::batch_bytes::is_a_reader_of_large_events",
            "--nocapture",
        ])
        .env(URL, database.url())
        .env(READER, reader)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let peak = text
        .lines()
        .find_map(|line| line.strip_prefix("read 150, peak "));
    let peak = peak.ok_or_else(|| anyhow::anyhow!("{reader}: {text}"))?;
    Ok(peak.parse()?)
}

/// Which readers take 120 megabytes or more for these texts.
fn greedy_readers(text: &str, readers: &[&str]) -> anyhow::Result<Vec<String>> {
    let database = database();
    // What it misses when the events come, it follows later.
    drop(open_with(database.url(), "follower")?);
    database
        .client()?
        .batch_execute(&LARGE.replace("{text}", text))?;
    let mut greedy = Vec::new();
    for reader in readers {
        let peak = peak_of(&database, reader)?;
        if peak >= 120 {
            greedy.push(format!("{reader}: {peak} MB"));
        }
    }
    Ok(greedy)
}

#[cfg(target_os = "linux")]
#[test]
fn every_reader_of_events_of_a_megabyte_takes_less_than_120_megabytes() -> anyhow::Result<()> {
    let text = format!("'{}'::TEXT", noise(1_000_000));
    assert_eq!(greedy_readers(&text, &READERS)?, [""; 0]);
    Ok(())
}

/// Where they are stored, they take 12 kilobytes each. One reader of each statement.
#[cfg(target_os = "linux")]
#[test]
fn every_reader_of_compressed_megabytes_takes_less_than_120_megabytes() -> anyhow::Result<()> {
    let readers = ["feed", "stream", "follower"];
    assert_eq!(greedy_readers("repeat('a', 1000000)", &readers)?, [""; 0]);
    Ok(())
}

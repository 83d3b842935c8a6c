//! Streams of any length, page by page.

use crate::database::connections::proxy::Proxy;
use crate::support::{database, quiet, store};
use emmett_postgresql::{ConnectionOptions, Error, EventStore, RawEvent, ReadOptions, Recorded};
use serde_json::json;

const LENGTH: u64 = 3_000;

fn append(store: &EventStore, count: u64) -> anyhow::Result<()> {
    let events: Vec<_> = (0..count)
        .map(|number| RawEvent::new("Numbered", json!(number)))
        .collect();
    store.append_to_stream("Long-1", &events)?;
    Ok(())
}

fn iterate(store: &EventStore, options: ReadOptions) -> Result<Vec<u64>, Error> {
    store
        .read_stream_iter::<RawEvent>("Long-1", options)
        .map(|recorded| recorded.map(|recorded| recorded.stream_position))
        .collect()
}

#[test]
fn every_event_of_several_pages_comes_once_and_in_order() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store, LENGTH)?;
    let options = ReadOptions::new;
    let up = |range: std::ops::RangeInclusive<u64>| range.collect::<Vec<_>>();
    let down = |range: std::ops::RangeInclusive<u64>| range.rev().collect::<Vec<_>>();

    assert_eq!(iterate(&store, options())?, up(1..=LENGTH));
    assert_eq!(iterate(&store, options().backwards())?, down(1..=LENGTH));
    assert_eq!(
        iterate(&store, options().from(500).to(2_499))?,
        up(500..=2_499)
    );
    assert_eq!(
        iterate(&store, options().from(500).to(2_499).backwards())?,
        down(500..=2_499)
    );
    for count in [1, 999, 1_000, 1_001, 2_000, 2_999, 3_000, 3_001, u64::MAX] {
        let last = count.min(LENGTH);
        assert_eq!(iterate(&store, options().max_count(count))?, up(1..=last));
        let limited = options().max_count(count).backwards();
        assert_eq!(iterate(&store, limited)?, down(LENGTH - last + 1..=LENGTH));
    }
    Ok(())
}

#[test]
fn a_page_is_fetched_when_the_one_before_is_used_up() -> anyhow::Result<()> {
    let database = database();
    let proxy = Proxy::to(&database)?;
    let store = quiet(proxy.url()).open()?;
    append(&store, LENGTH)?;
    iterate(&store, ReadOptions::new().include_archived())?;
    iterate(&store, ReadOptions::new())?;
    let mut events = store.read_stream_iter::<RawEvent>("Long-1", ReadOptions::new());

    let fetches: Vec<_> = (0..LENGTH)
        .map(|_| proxy.count(|| events.next().is_some()))
        .collect();

    let with_fetch = (1_u64..)
        .zip(fetches)
        .filter(|(_, (found, turns))| *found && *turns > 0);
    let numbers: Vec<_> = with_fetch
        .map(|(number, (_, turns))| (number, turns))
        .collect();
    assert_eq!(numbers, [(1, 1), (1_001, 1), (2_001, 1)]);
    Ok(())
}

#[test]
fn an_iterator_holds_no_connection_between_two_pages() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .open()?;
    append(&store, LENGTH)?;

    let mut positions = Vec::new();
    for recorded in store.read_stream_iter::<RawEvent>("Long-1", ReadOptions::new()) {
        let recorded = recorded?;
        if recorded.stream_position % 500 == 0 {
            assert!(store.stream_exists("Long-1")?);
        }
        positions.push(recorded.stream_position);
    }

    assert_eq!(positions.len() as u64, LENGTH);
    Ok(())
}

#[test]
fn an_event_that_cannot_be_read_is_the_iterators_last_item() -> anyhow::Result<()> {
    let (database, store) = store()?;
    append(&store, LENGTH)?;
    database.client()?.batch_execute(
        "UPDATE emt_messages SET message_schema_version = '2' WHERE stream_position = 1500",
    )?;

    let items: Vec<_> = store
        .read_stream_iter::<Refusing>("Long-1", ReadOptions::new())
        .collect();

    let (last, read) = items.split_last().expect("items");
    assert!(
        matches!(last, Err(Error::Upcast { version: 1_500, .. })),
        "{last:?}"
    );
    assert!(read.iter().all(Result::is_ok));
    assert_eq!(read.len(), 1_000, "the pages before it");
    Ok(())
}

/// Reads whatever was stored in version 1.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Refusing {
    Numbered(u64),
}

impl emmett_postgresql::Event for Refusing {
    fn upcast(_: emmett_postgresql::events::StoredEvent) -> anyhow::Result<Vec<RawEvent>> {
        anyhow::bail!("it is too new")
    }
}

#[test]
fn a_stream_that_grows_meanwhile_is_read_up_to_where_it_was() -> anyhow::Result<()> {
    for backwards in [false, true] {
        let (_database, store) = store()?;
        append(&store, LENGTH)?;
        let options = ReadOptions::new();
        let options = if backwards {
            options.backwards()
        } else {
            options
        };
        let mut events = store.read_stream_iter::<RawEvent>("Long-1", options);

        let mut read: Vec<Recorded<RawEvent>> = Vec::new();
        while let Some(recorded) = events.next().transpose()? {
            if read.len().is_multiple_of(700) {
                append(&store, 50)?;
            }
            read.push(recorded);
        }

        assert_eq!(read.len() as u64, LENGTH);
        let mut positions: Vec<_> = read
            .iter()
            .map(|recorded| recorded.stream_position)
            .collect();
        if backwards {
            positions.reverse();
        }
        assert_eq!(positions, (1..=LENGTH).collect::<Vec<_>>());
        assert!(
            store
                .read_stream_with::<RawEvent>("Long-1", ReadOptions::new().max_count(0))?
                .current_version
                > LENGTH
        );
    }
    Ok(())
}

#[test]
fn a_stream_that_is_archived_meanwhile_is_read_to_its_end() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store, LENGTH)?;
    let mut events = store.read_stream_iter::<RawEvent>("Long-1", ReadOptions::new());

    let first = events.next().transpose()?;
    store.archive_stream("Long-1")?;
    let others = events.collect::<Result<Vec<_>, _>>()?;

    assert!(first.is_some());
    assert_eq!(others.len() as u64, LENGTH - 1);
    Ok(())
}

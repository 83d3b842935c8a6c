//! Missing messages of a stream: deleted by hand, or hidden from the role.

use crate::support::store;
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    Error, EventStore, RawEvent, ReadOptions, Result, database::AutoMigration,
};
use serde_json::json;

/// A stream of so many messages, and what was done to its tables.
fn stream(length: u64, change: &str) -> anyhow::Result<(Database, EventStore)> {
    let (database, store) = store()?;
    let events: Vec<_> = (0..length)
        .map(|number| RawEvent::new("Numbered", json!(number)))
        .collect();
    store.append_to_stream("Case-1", &events)?;
    database.client()?.batch_execute(change)?;
    Ok((database, store))
}

/// The versions that each way to read finds.
fn ways(store: &EventStore, options: ReadOptions) -> [Result<Vec<u64>>; 3] {
    let read = store.read_stream_with::<RawEvent>("Case-1", options);
    let fold = store.aggregate_stream_with(
        "Case-1",
        options,
        Vec::new,
        |mut versions, recorded: emmett_postgresql::Recorded<RawEvent>| {
            versions.push(recorded.stream_position);
            versions
        },
    );
    [
        read.map(|read| {
            read.events
                .iter()
                .map(|event| event.stream_position)
                .collect()
        }),
        fold.map(|folded| folded.state),
        store
            .read_stream_iter::<RawEvent>("Case-1", options)
            .map(|recorded| recorded.map(|recorded| recorded.stream_position))
            .collect(),
    ]
}

#[track_caller]
fn assert_gap(store: &EventStore, options: ReadOptions, expected: u64, found: Option<u64>) {
    for result in ways(store, options) {
        match result {
            Err(error @ Error::StreamGap { .. }) => {
                let found = found.map_or("no more".to_owned(), |found| found.to_string());
                let words =
                    format!("stream \"Case-1\": expected version {expected}, found {found}:");
                assert!(error.to_string().starts_with(&words), "{error}");
                assert!(!error.is_retryable() && !error.is_conflict());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn assert_read(store: &EventStore, options: ReadOptions, versions: &[u64]) {
    for result in ways(store, options) {
        assert_eq!(result.expect("no gap"), versions);
    }
}

#[test]
fn a_message_that_was_deleted_is_an_error_unless_gaps_are_allowed() -> anyhow::Result<()> {
    let options = ReadOptions::new;
    for archived in [false, true] {
        let (_database, store) = stream(5, "DELETE FROM emt_messages WHERE stream_position = 3")?;
        let options = || {
            if archived {
                options().include_archived()
            } else {
                options()
            }
        };
        if archived {
            store.archive_stream("Case-1")?;
        }

        assert_gap(&store, options(), 3, Some(4));
        assert_gap(&store, options().backwards(), 3, Some(2));
        assert_gap(&store, options().from(3), 3, Some(4));
        assert_gap(&store, options().to(3), 3, None);
        assert_gap(&store, options().max_count(3), 3, Some(4));
        assert_read(&store, options().allow_gaps(), &[1, 2, 4, 5]);
        assert_read(&store, options().allow_gaps().backwards(), &[5, 4, 2, 1]);
        assert_read(&store, options().max_count(2), &[1, 2]);
        assert_read(&store, options().to(2), &[1, 2]);
        assert_read(&store, options().from(4), &[4, 5]);
        assert_read(&store, options().from(4).to(99).backwards(), &[5, 4]);
        assert_read(&store, options().from(6), &[]);
    }
    Ok(())
}

#[test]
fn the_first_and_the_last_message_are_missed_too() -> anyhow::Result<()> {
    let (_database, store) = stream(
        3,
        "DELETE FROM emt_messages WHERE stream_position IN (1, 3)",
    )?;
    assert_gap(&store, ReadOptions::new(), 1, Some(2));
    assert_gap(&store, ReadOptions::new().from(2), 3, None);
    assert_gap(&store, ReadOptions::new().backwards(), 3, Some(2));
    assert_gap(&store, ReadOptions::new().to(2).backwards(), 1, None);
    let (_database, store) = stream(3, "DELETE FROM emt_messages")?;
    assert_gap(&store, ReadOptions::new(), 1, None);
    assert_gap(&store, ReadOptions::new().backwards(), 3, None);
    assert_read(&store, ReadOptions::new().allow_gaps(), &[]);
    Ok(())
}

#[test]
fn messages_that_row_level_security_hides_are_an_error() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream(
        "Case-1",
        &[
            RawEvent::new("Opened", json!(1)),
            RawEvent::new("Closed", json!(2)),
        ],
    )?;
    let role = format!("{}_reader", database.name());
    database.client()?.batch_execute(&format!(
        "CREATE ROLE \"{role}\" LOGIN; SELECT emt_grant('{role}', 'reader');
         ALTER TABLE emt_messages_emt_default_active ENABLE ROW LEVEL SECURITY"
    ))?;
    let url = database
        .url()
        .replace("user=postgres", &format!("user={role}"));
    let reader = EventStore::builder(&url)
        .auto_migration(AutoMigration::None)
        .open()?;

    assert_gap(&reader, ReadOptions::new(), 1, None);
    assert_read(&store, ReadOptions::new(), &[1, 2]);
    Ok(())
}

#[test]
fn an_iterator_notices_what_is_deleted_between_its_pages() -> anyhow::Result<()> {
    for change in [
        "DELETE FROM emt_messages WHERE stream_position = 1001",
        "DELETE FROM emt_messages WHERE stream_position > 1000",
        "DELETE FROM emt_messages; DELETE FROM emt_streams",
    ] {
        let (database, store) = stream(1_500, "")?;
        let mut events = store.read_stream_iter::<RawEvent>("Case-1", ReadOptions::new());
        events.next().expect("a first event")?;
        database.client()?.batch_execute(change)?;

        let last = events.last().expect("an outcome");

        assert!(
            matches!(
                last,
                Err(Error::StreamGap {
                    expected: 1_001,
                    ..
                })
            ),
            "{last:?}"
        );
    }
    Ok(())
}

//! A whole stream, and its properties.

use crate::support::{CartEvent, added, database, store};
use emmett_postgresql::ExpectedVersion::{Any, DoesNotExist, Exact, Exists};
use emmett_postgresql::{
    AppendOptions, ConnectionOptions, Error, EventStore, RawEvent, ReadOptions, Recorded,
};
use serde_json::{Map, json};

fn options() -> ReadOptions {
    ReadOptions::new()
}

#[test]
fn the_version_is_that_of_the_stream_whatever_part_is_read() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let events: Vec<_> = (1..=5).map(|number| added("hat", number)).collect();
    store.append_to_stream("Cart-1", &events)?;

    for (part, count) in [
        (options(), 5),
        (options().max_count(2), 2),
        (options().to(1), 1),
        (options().backwards().from(5), 1),
        (options().from(6), 0),
        (options().from(3).to(2), 0),
        (options().max_count(0), 0),
        (options().from(u64::MAX).to(0), 0),
    ] {
        let read = store.read_stream_with::<CartEvent>("Cart-1", part)?;

        assert_eq!(
            (read.events.len(), read.current_version, read.exists),
            (count, 5, true),
            "{part:?}"
        );
    }
    Ok(())
}

#[test]
fn a_stream_that_does_not_exist_is_empty_and_has_version_0() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-10", &[added("hat", 1)])?;

    let read = store.read_stream::<CartEvent>("Cart-1")?;
    let folded = store.aggregate_stream("Cart-1", || 7, |state, _: CartEvent| state + 1)?;
    let mut iterated = store.read_stream_iter::<CartEvent>("Cart-1", options());

    assert_eq!(
        (read.events.len(), read.current_version, read.exists),
        (0, 0, false)
    );
    assert_eq!(
        (folded.state, folded.current_version, folded.exists),
        (7, 0, false)
    );
    assert!(iterated.next().is_none());
    Ok(())
}

#[test]
fn streams_are_told_apart_by_their_whole_names() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let names = [
        "Cart-1", "cart-1", "Cart-1 ", "Cart-10", "Cart-", "Cart", "-1", "Cart-%", "Cart_1",
        "Cärt-1", "🛒-1",
    ];
    for (number, name) in (1..).zip(names) {
        store.append_to_stream(name, &[added("hat", number)])?;
    }

    for (number, name) in (1..).zip(names) {
        let read = store.read_stream::<CartEvent>(name)?;
        let events: Vec<_> = read.events.iter().map(|recorded| &recorded.event).collect();
        assert_eq!(events, [&added("hat", number)], "{name}");
        assert_eq!(&*read.events[0].stream_name, name);
    }
    Ok(())
}

#[test]
fn a_stream_exists_from_its_first_append_on() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let refused = AppendOptions::new().expected_version(1);

    let before = store.stream_exists("Cart-1")?;
    let conflict = store.append_to_stream_with("Cart-1", &[added("hat", 1)], refused);
    let between = store.stream_exists("Cart-1")?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    assert!(conflict.is_err());
    assert_eq!(
        (before, between, store.stream_exists("Cart-1")?),
        (false, false, true)
    );
    Ok(())
}

#[test]
fn a_read_that_expects_another_version_is_a_conflict() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;

    for (stream, actual, expected, met) in [
        ("Cart-1", 2, Any, true),
        ("Cart-1", 2, Exact(2), true),
        ("Cart-1", 2, Exists, true),
        ("Cart-1", 2, Exact(1), false),
        ("Cart-1", 2, Exact(u64::MAX), false),
        ("Cart-1", 2, DoesNotExist, false),
        ("Cart-2", 0, Any, true),
        ("Cart-2", 0, DoesNotExist, true),
        ("Cart-2", 0, Exact(0), true),
        ("Cart-2", 0, Exists, false),
        ("Cart-2", 0, Exact(2), false),
    ] {
        // The version is the stream's, not that of the last event of the part.
        let part = options().to(1).expected_version(expected);
        let outcomes = [
            store.read_stream_with::<CartEvent>(stream, part).err(),
            store
                .aggregate_stream_with(stream, part, || (), |(), _: Recorded<CartEvent>| ())
                .err(),
            store
                .read_stream_iter::<CartEvent>(stream, part)
                .find_map(Result::err),
        ];

        for outcome in outcomes {
            match outcome {
                None => assert!(met, "{stream}, {expected}"),
                Some(Error::Conflict {
                    stream: named,
                    expected: wanted,
                    actual: found,
                    ..
                }) => {
                    assert!(!met, "{stream}, {expected}");
                    assert_eq!((&*named, wanted, found), (stream, expected, actual));
                }
                Some(other) => return Err(other.into()),
            }
        }
    }
    Ok(())
}

#[test]
fn a_stream_keeps_metadata_beside_its_events() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let metadata = |value: serde_json::Value| value.as_object().cloned().unwrap_or_default();
    let first = metadata(json!({"owner": "anna", "tags": ["a"], "deep": {"x": null}}));
    let second = metadata(json!({"owner": "bea"}));

    let of_none = store.set_stream_metadata("Cart-1", &first)?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let empty = store.stream_metadata("Cart-1")?;
    let set = store.set_stream_metadata("Cart-1", &first)?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let kept = store.stream_metadata("Cart-1")?;
    store.set_stream_metadata("Cart-1", &second)?;

    assert_eq!((of_none, set), (false, true));
    assert_eq!((empty, kept), (Some(Map::new()), Some(first)));
    assert_eq!(store.stream_metadata("Cart-1")?, Some(second));
    assert_eq!(store.stream_metadata("Cart-2")?, None);
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.current_version, 2);
    Ok(())
}

#[test]
fn metadata_that_cannot_be_stored_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let wrong = Map::from_iter([("name".to_owned(), json!("a\0b"))]);

    let refused = store.set_stream_metadata("Cart-1", &wrong);

    assert!(matches!(refused, Err(Error::Encode { stream, .. }) if stream == "Cart-1"));
    assert_eq!(store.stream_metadata("Cart-1")?, Some(Map::new()));
    Ok(())
}

#[test]
fn a_read_that_fails_early_leaves_its_connection_usable() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .open()?;
    let events: Vec<_> = (0..3_000)
        .map(|number| RawEvent::new("Unknown", json!(number)))
        .collect();
    store.append_to_stream("Cart-1", &events)?;

    for _ in 0..3 {
        assert!(store.read_stream::<CartEvent>("Cart-1").is_err());
        assert!(
            store
                .aggregate_stream("Cart-1", || (), |(), _: CartEvent| ())
                .is_err()
        );
        let in_session = store.with_session(|session| {
            assert!(session.read_stream::<CartEvent>("Cart-1").is_err());
            Ok(session.append_to_stream("Cart-2", &[added("hat", 1)])?)
        });
        assert!(in_session.is_ok(), "{in_session:?}");
        assert_eq!(store.read_stream::<RawEvent>("Cart-1")?.events.len(), 3_000);
    }
    assert_eq!(store.read_stream::<CartEvent>("Cart-2")?.current_version, 3);
    Ok(())
}

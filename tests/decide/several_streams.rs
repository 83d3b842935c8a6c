//! Decisions about several streams.

use super::{Cart, Full};
use crate::support::{CartEvent, added, database, store};
use emmett_postgresql::decide::{DecideError, Decision, stream};
use emmett_postgresql::{DocumentProjection, Error, EventStore, Recorded};
use serde_json::{Value, json};
use std::cell::Cell;
use std::convert::Infallible;

fn version(store: &EventStore, stream: &str) -> Result<u64, Error> {
    Ok(store.read_stream::<CartEvent>(stream)?.current_version)
}

#[test]
fn several_streams_are_read_and_appended_to_at_once() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 2), added("hat", 1)])?;

    let done = store
        .decide((stream::<Cart>("Cart-1"), stream::<Cart>("Cart-2")))
        .run(|(from, to)| {
            assert_eq!((from.items, to.items), (3, 0));
            Ok::<_, Full>(
                Decision::new()
                    .append("Cart-1", [added("out", 1)])
                    .append("Cart-2", [added("in", 1), added("in", 1)])
                    .append("Log-1", [added("moved", 1)])
                    .reply("moved"),
            )
        })?;

    assert_eq!(done.version, (3, 2));
    assert_eq!((done.state.0.items, done.state.1.items), (4, 2));
    assert_eq!((done.reply, done.appended.len()), ("moved", 3));
    assert_eq!(done.appended[2].next_expected_version, 1);
    assert_eq!(version(&store, "Log-1")?, 1);
    Ok(())
}

#[test]
fn a_stream_that_is_only_read_is_guarded_all_the_same() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let attempts = Cell::new(0);

    let done = store
        .decide((stream::<Cart>("Cart-1"), stream::<Cart>("Cart-2")))
        .run(|(read, _)| {
            attempts.set(attempts.get() + 1);
            if attempts.get() == 1 {
                store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
            }
            Ok::<_, Error>(Decision::new().append("Cart-2", [added("seen", read.items)]))
        })?;

    assert_eq!((attempts.get(), done.version), (2, (1, 1)));
    assert_eq!(done.state.1.items, 1, "it was decided on what is there");
    assert_eq!(done.appended.len(), 1);
    Ok(())
}

#[test]
fn a_stream_that_stands_twice_in_a_boundary_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let refused = store
        .decide((stream::<Cart>("Cart-1"), stream::<Cart>("Cart-1")))
        .run(|_| Ok::<_, Infallible>(Decision::new()));
    let Err(DecideError::Store(error)) = refused else {
        panic!("twice");
    };
    assert_eq!(
        error.to_string(),
        "stream \"Cart-1\": stands twice in the boundary of one decision"
    );
    Ok(())
}

#[test]
fn boundaries_of_boundaries_keep_their_order() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for (number, items) in [(1, 1), (2, 2), (3, 3)] {
        store.append_to_stream(&format!("Cart-{number}"), &[added("hat", items)])?;
    }
    let done = store
        .decide((
            (stream::<Cart>("Cart-1"), stream::<Cart>("Cart-9")),
            stream::<Cart>("Cart-2"),
            stream::<Cart>("Cart-3"),
        ))
        .run(|((one, none), two, three)| {
            let seen = (one.items, none.items, two.items, three.items);
            Ok::<_, Infallible>(Decision::new().reply(seen))
        })?;
    assert_eq!(done.reply, (1, 0, 2, 3));
    assert_eq!(done.version, ((1, 0), 1, 1));
    Ok(())
}

#[test]
fn inline_projections_run_in_the_transaction_of_the_decision() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(DocumentProjection::single_stream(
            "counts",
            |count: Option<Value>, _: &Recorded<CartEvent>| {
                let events = count
                    .and_then(|count| count["events"].as_u64())
                    .unwrap_or(0)
                    + 1;
                Some(json!({ "events": events }))
            },
        ))
        .open()?;

    store.decide(stream::<Cart>("Cart-1")).run(Cart::add)?;
    store
        .decide((stream::<Cart>("Cart-1"), stream::<Cart>("Cart-2")))
        .key("move-1")
        .run(|_| Ok::<_, Infallible>(Decision::new().append("Cart-1", [added("hat", 1)])))?;

    let counts = store.collection::<Value>("counts");
    let count = counts.find_by_id("Cart-1")?.expect("it is there");
    assert_eq!(count["events"], 2);
    Ok(())
}

//! Readers that require an active read model.

use super::{event, hold_followers, with_version};
use crate::support::{database, wait_until_active};
use emmett_postgresql::{
    EventStore, SqlProjection, pongo,
    projection::{ProjectionStatus, ReadModel},
    rebuild::OnHistory,
};
use serde_json::{Value, json};

/// Each way to read; what it gives.
fn read_in_all_ways(orders: &ReadModel<'_, Value>) -> Vec<pongo::Result<usize>> {
    let none = || json!({ "$nor": [{}] });
    let count = |found: Option<Value>| usize::from(found.is_some());
    vec![
        orders.find_by_id("Cart-1").map(count),
        orders.find_one(json!({ "_id": "Cart-1" })).map(count),
        orders.find(json!({})).to_vec().map(|found| found.len()),
        orders
            .find(json!({}))
            .page(1)
            .map(|page| page.documents.len()),
        orders
            .find(json!({}))
            .cursor()
            .and_then(Iterator::collect::<pongo::Result<Vec<_>>>)
            .map(|found| found.len()),
        orders.exists(json!({})).map(usize::from),
        orders
            .distinct::<Value>("_id", json!({}))
            .map(|ids| ids.len()),
        orders
            .count_documents(json!({}))
            .map(|count| usize::try_from(count).expect("few")),
        // The planner knows that nothing is read.
        orders.find(none()).to_vec().map(|found| 1 + found.len()),
        orders
            .find(json!({}))
            .limit(0)
            .to_vec()
            .map(|found| 1 + found.len()),
        orders.count_documents(none()).map(|_| 1),
        orders.exists(none()).map(|_| 1),
    ]
}

fn refusals(orders: &ReadModel<'_, Value>) -> Vec<String> {
    read_in_all_ways(orders)
        .into_iter()
        .map(|read| match read {
            Err(pongo::Error::NotActive { message, .. }) => message,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_read_model_that_is_not_active_is_not_read_in_any_way() -> anyhow::Result<()> {
    let database = database();
    let store = with_version(database.url(), 1).open()?;
    let plain = EventStore::open(database.url())?;
    store.append_to_stream("Cart-1", &event())?;
    let orders = plain.collection("orders").only_if_active();
    let active = read_in_all_ways(&orders);

    let holder = hold_followers(&database, "orders")?;
    let missed = plain.append_to_stream("Cart-1", &event())?;
    let following = refusals(&orders);
    drop(holder);
    wait_until_active(&store);
    let again = read_in_all_ways(&orders);

    assert!(
        active.iter().all(|read| matches!(read, Ok(1))),
        "{active:?}"
    );
    let expected = format!(
        "the read model of projection \"orders\" (version 1) is following: it misses events from position {} on",
        missed.last_global_position
    );
    assert!(
        following.iter().all(|message| *message == expected),
        "{following:?}"
    );
    assert!(again.iter().all(|read| matches!(read, Ok(1))), "{again:?}");
    Ok(())
}

#[test]
fn the_error_says_in_which_state_the_projection_is() -> anyhow::Result<()> {
    let database = database();
    let plain = EventStore::open(database.url())?;
    plain.append_to_stream("Cart-1", &event())?;
    let message = || refusals(&plain.collection("orders").only_if_active()).swap_remove(0);

    plain
        .collection::<Value>("orders")
        .count_documents(json!({}))?;
    let unknown = message();
    let left = with_version(database.url(), 1)
        .on_history(OnHistory::Leave)
        .open()?;
    let building = message();
    database
        .client()?
        .batch_execute("UPDATE emt_projections SET status = 'stale'")?;
    let stale = message();

    assert!(
        unknown.contains("no inline projection of that name"),
        "{unknown}"
    );
    assert!(building.ends_with("(version 1) is building"), "{building}");
    assert!(stale.ends_with("(version 1) is stale"), "{stale}");
    assert_eq!(
        left.registered_projections()?[0].status,
        ProjectionStatus::Stale
    );
    Ok(())
}

#[test]
fn a_version_that_is_being_built_does_not_hide_the_active_one() -> anyhow::Result<()> {
    let database = database();
    let first = with_version(database.url(), 1).open()?;
    first.append_to_stream("Cart-1", &event())?;
    let _second = with_version(database.url(), 2)
        .on_history(OnHistory::Leave)
        .open()?;

    let orders = first.collection::<Value>("orders").only_if_active();

    assert_eq!(orders.count_documents(json!({}))?, 1);
    Ok(())
}

#[test]
fn a_session_reads_what_it_has_appended_itself() -> anyhow::Result<()> {
    let database = database();
    let store = with_version(database.url(), 1).open()?;
    let plain = EventStore::open(database.url())?;

    let mut session = store.begin()?;
    session.append_to_stream("Cart-1", &event())?;
    let own = session
        .collection::<Value>("orders")
        .only_if_active()
        .count_documents(json!({}))?;
    drop(session);
    let mut session = plain.begin()?;
    session.append_to_stream("Cart-1", &event())?;
    let missed = session
        .collection::<Value>("orders")
        .only_if_active()
        .count_documents(json!({}));

    assert_eq!(own, 1);
    assert!(
        matches!(missed, Err(pongo::Error::NotActive { .. })),
        "{missed:?}"
    );
    Ok(())
}

#[test]
fn a_cursor_reads_the_state_that_was_active_when_it_was_opened() -> anyhow::Result<()> {
    let database = database();
    let store = with_version(database.url(), 1).open()?;
    let plain = EventStore::open(database.url())?;
    store.append_to_stream("Cart-1", &event())?;
    let orders = plain.collection::<Value>("orders").only_if_active();
    let _holder = hold_followers(&database, "orders")?;

    let cursor = orders.find(json!({})).cursor()?;
    plain.append_to_stream("Cart-2", &event())?;
    let read = cursor.collect::<pongo::Result<Vec<_>>>()?;

    assert_eq!(read.len(), 1);
    assert!(orders.find(json!({})).cursor().is_err());
    Ok(())
}

#[test]
fn a_read_model_of_a_consumer_is_never_known_to_be_right() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::open(database.url())?;
    let journal = SqlProjection::new(
        "orders",
        |_: &[emmett_postgresql::Recorded<crate::support::CartEvent>], _| Ok(()),
    );
    store.consumer().projector(journal).start()?.stop()?;

    let orders = store.collection::<Value>("orders").only_if_active();

    assert!(refusals(&orders)[0].contains("no inline projection"));
    Ok(())
}

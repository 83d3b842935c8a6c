//! The status of a projection during the appends of others, and the options of its readers.

use super::{event, insert, is_right_where_active, order, with_version};
use crate::support::{database, wait_until_active};
use emmett_postgresql::{
    Error, EventStore, SqlProjection, operations::FindingKind, projection::ProjectionStatus,
    rebuild::OnHistory,
};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn status(store: &EventStore) -> anyhow::Result<Vec<ProjectionStatus>> {
    let projections = store.registered_projections()?;
    Ok(projections.iter().map(|one| one.status).collect())
}

fn stream_versions(store: &EventStore, stream: &str) -> anyhow::Result<Option<Value>> {
    let document = store
        .collection::<Value>("orders")
        .find_one(json!({ "_id": stream }))?;
    Ok(document.map(|document| document["versions"].clone()))
}

#[test]
fn a_projection_that_meets_history_is_built_before_it_is_active() -> anyhow::Result<()> {
    let database = database();
    let plain = EventStore::open(database.url())?;
    for _ in 0..2 {
        plain.append_to_stream("Cart-1", &event())?;
    }
    let handled = Arc::new(AtomicU64::new(0));
    let reported = Arc::clone(&handled);

    let store = with_version(database.url(), 1)
        .on_build_progress(move |name, progress| {
            assert_eq!(name, "orders");
            reported.store(progress.handled, Ordering::SeqCst);
        })
        .open()?;
    let appended = store.append_to_stream("Cart-1", &event())?;

    assert_eq!(handled.load(Ordering::SeqCst), 2);
    assert_eq!(appended.projections, ["orders"]);
    assert_eq!(status(&store)?, [ProjectionStatus::Active]);
    assert_eq!(stream_versions(&store, "Cart-1")?, Some(json!([1, 2, 3])));
    Ok(())
}

#[test]
fn it_is_built_in_the_background_or_refused_or_left_as_it_is() -> anyhow::Result<()> {
    let database = database();
    let plain = EventStore::open(database.url())?;
    plain.append_to_stream("Cart-1", &event())?;

    let refused = with_version(database.url(), 1)
        .on_history(OnHistory::Refuse)
        .open();
    let left = with_version(database.url(), 1)
        .on_history(OnHistory::Leave)
        .open()?;
    let unbuilt = (status(&left)?, left.doctor()?.findings);
    let not_run = left.append_to_stream("Cart-1", &event())?;
    let built = with_version(database.url(), 1)
        .on_history(OnHistory::BuildInBackground)
        .open()?;
    wait_until_active(&built);

    let Err(Error::InvalidInput { reason, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains("projections rebuild"), "{reason}");
    assert_eq!(unbuilt.0, [ProjectionStatus::Building]);
    assert_eq!(unbuilt.1[0].kind, FindingKind::UnbuiltProjection);
    assert!(not_run.projections.is_empty());
    assert_eq!(stream_versions(&built, "Cart-1")?, Some(json!([1, 2])));
    Ok(())
}

#[test]
fn a_reader_can_wait_until_it_has_followed() -> anyhow::Result<()> {
    let database = database();
    let store = with_version(database.url(), 1).open()?;
    let plain = EventStore::open(database.url())?;

    for version in 1..=3_u32 {
        let appended = plain.append_to_stream("Cart-1", &event())?;
        plain.wait_for(
            "orders",
            appended.last_global_position,
            Duration::from_secs(30),
        )?;
        let versions = stream_versions(&store, "Cart-1")?;
        assert_eq!(versions, Some(json!((1..=version).collect::<Vec<_>>())));
    }
    Ok(())
}

#[test]
fn a_tenant_is_built_at_its_first_use() -> anyhow::Result<()> {
    let database = database();
    let plain = EventStore::open(database.url())?;
    plain.tenants().add("acme")?;
    plain.tenant("acme")?.append_to_stream("Cart-1", &event())?;
    let store = with_version(database.url(), 1).open()?;

    let acme = store.tenant("acme")?;
    let before = acme.registered_projections()?;
    acme.append_to_stream("Cart-1", &event())?;

    assert!(before.is_empty());
    assert_eq!(stream_versions(&acme, "Cart-1")?, Some(json!([1, 2])));
    Ok(())
}

#[test]
fn events_of_other_types_are_no_history() -> anyhow::Result<()> {
    let database = database();
    EventStore::open(database.url())?.append_to_stream("Cart-1", &event())?;

    // It could not be built: it does not say which tables it writes.
    let store = EventStore::builder(database.url())
        .inline_projection(
            SqlProjection::new(
                "confirmed",
                |_: &[emmett_postgresql::Recorded<crate::support::CartEvent>], _| Ok(()),
            )
            .can_handle(&["ShoppingCartConfirmed"]),
        )
        .open()?;

    assert_eq!(status(&store)?, [ProjectionStatus::Active]);
    Ok(())
}

#[test]
fn what_psql_and_emmetts_function_append_is_followed() -> anyhow::Result<()> {
    let database = database();
    let store = with_version(database.url(), 1).open()?;
    store.append_to_stream("Cart-1", &event())?;
    let mut client = database.client()?;

    insert(&mut client, "Cart-1", 2)?;
    let copied = "5\tCart-2\t1\tid\tProductItemAdded\t1\t{\"productId\":\"a\",\"quantity\":1,\"price\":1}\t{}\n";
    let mut copy = client.copy_in(
        "COPY emt_messages_emt_default (global_position, stream_id, stream_position, message_id, message_type,
                                        message_schema_version, message_data, message_metadata) FROM STDIN",
    )?;
    copy.write_all(copied.as_bytes())?;
    copy.finish()?;
    client.batch_execute("SELECT setval('emt_global_message_position', 10)")?;
    client.execute(
        "SELECT emt_append_to_stream(ARRAY['m'], ARRAY['{\"productId\":\"a\",\"quantity\":1,\"price\":1}'::JSONB],
             ARRAY['{}'::JSONB], ARRAY['1'], ARRAY['ProductItemAdded'], ARRAY['E'], 'Cart-3', 'Cart')",
        &[],
    )?;
    wait_until_active(&store);

    assert_eq!(stream_versions(&store, "Cart-1")?, Some(json!([1, 2])));
    assert_eq!(stream_versions(&store, "Cart-2")?, Some(json!([1])));
    assert_eq!(stream_versions(&store, "Cart-3")?, Some(json!([1])));
    assert_eq!(is_right_where_active(&mut client)?, Some(true));
    Ok(())
}

#[test]
fn an_event_of_a_type_that_it_does_not_handle_is_not_noted() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(order(1).can_handle(&["ShoppingCartConfirmed"]))
        .open()?;

    EventStore::open(database.url())?.append_to_stream("Cart-1", &event())?;

    assert_eq!(status(&store)?, [ProjectionStatus::Active]);
    Ok(())
}

#[test]
fn without_a_program_that_has_it_a_projection_is_orphaned_until_it_is_forgotten()
-> anyhow::Result<()> {
    let database = database();
    drop(with_version(database.url(), 1).open()?);
    let plain = EventStore::open(database.url())?;
    plain.append_to_stream("Cart-1", &event())?;
    let following = plain.registered_projections()?;
    database.client()?.batch_execute(
        "UPDATE emt_projections SET last_updated = now() - INTERVAL '2 minutes';
         UPDATE emt_missed SET noted_at = now() - INTERVAL '2 minutes'",
    )?;

    let orphaned = plain.registered_projections()?;
    let found = plain.doctor()?.findings;
    let forgotten = plain.forget_projection("orders")?;
    plain.append_to_stream("Cart-1", &event())?;

    let missed = following[0].missed.expect("a missed event");
    assert_eq!(following[0].status, ProjectionStatus::Following);
    assert_eq!((missed.count, missed.first_position), (1, 1));
    assert_eq!(orphaned[0].status, ProjectionStatus::Orphaned);
    assert_eq!(found[0].kind, FindingKind::OrphanedProjection);
    assert!(forgotten && !plain.forget_projection("orders")?);
    assert!(plain.registered_projections()?.is_empty());
    let row = database
        .client()?
        .query_one("SELECT count(*) FROM emt_missed", &[])?;
    assert_eq!(row.get::<_, i64>(0), 0);
    Ok(())
}

#[test]
fn an_orphan_that_has_missed_too_much_is_stale_and_is_built_by_the_next_program()
-> anyhow::Result<()> {
    let database = database();
    drop(with_version(database.url(), 1).open()?);
    let plain = EventStore::open(database.url())?;
    for _ in 0..3 {
        plain.append_to_stream("Cart-1", &event())?;
    }
    let mut client = database.client()?;
    let mut expire = |rows: i64, age: &str| -> anyhow::Result<bool> {
        let expire =
            "SELECT emt_projection_expire('emt:default', 'orders', 1, $1, $2::TEXT::INTERVAL)";
        Ok(client.query_one(expire, &[&rows, &age])?.get(0))
    };
    let alive = expire(0, "0")?;
    database.client()?.batch_execute(
        "UPDATE emt_projections SET last_updated = now() - INTERVAL '2 minutes';
         UPDATE emt_missed SET noted_at = now() - INTERVAL '2 minutes'",
    )?;

    let (young, old) = (expire(3, "1 day")?, expire(2, "1 day")?);
    let stale = status(&plain)?;
    let store = with_version(database.url(), 1).open()?;

    assert_eq!((alive, young, old), (false, false, true));
    assert_eq!(stale, [ProjectionStatus::Stale]);
    assert_eq!(stream_versions(&store, "Cart-1")?, Some(json!([1, 2, 3])));
    Ok(())
}

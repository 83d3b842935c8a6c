//! The switch, in which the new read model replaces the live one.

use super::{append, assert_cleaned_up, damage, folded, model, open, store_with, waiting};
use crate::support::{CartEvent, added, database, wait_until};
use emmett_postgresql::{ConnectionOptions, Error, EventStore, error::ProjectionError};
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;

#[test]
fn an_append_that_is_open_during_the_rebuild_is_in_the_new_read_model() -> anyhow::Result<()> {
    let (database, store) = store_with(30)?;
    damage(&store)?;

    thread::scope(|scope| -> anyhow::Result<()> {
        let mut session = store.begin()?;
        session.append_to_stream("Cart-late", &[added("hat", 100)])?;
        let rebuilding = scope.spawn(|| store.rebuild("items").run());
        wait_until("the switch waits for the append", || {
            waiting(&database).is_ok_and(|waiting| waiting == 1)
        });
        session.append_to_stream("Cart-late", &[added("shoe", 100)])?;
        session.commit()?;
        let report = rebuilding.join().expect("no panic")?;
        assert_eq!(report.handled, 32);
        Ok(())
    })?;

    assert_eq!(model(&store, "items")?, folded(&store)?);
    assert_cleaned_up(&database)
}

#[test]
fn an_event_that_is_appended_between_the_last_batch_and_the_switch_is_not_lost()
-> anyhow::Result<()> {
    let (database, store) = store_with(30)?;
    damage(&store)?;
    let mut late = 0;

    let report = store
        .rebuild("items")
        .batch_size(10)
        .on_progress(|progress| {
            if progress.handled == 30 {
                store
                    .append_to_stream("Cart-late", &[added("hat", 100)])
                    .expect("an append");
                late += 1;
            }
        })
        .run()?;

    assert_eq!((report.handled, late), (31, 1));
    assert_eq!(model(&store, "items")?, folded(&store)?);
    assert_cleaned_up(&database)
}

#[test]
fn where_open_appends_leave_no_moment_the_live_read_model_stays_and_appends_go_on()
-> anyhow::Result<()> {
    let (database, store) = store_with(30)?;
    damage(&store)?;
    let before = model(&store, "items")?;
    let mut session = store.begin()?;
    session.append_to_stream("Cart-open", &[added("cap", 1)])?;

    let blocked = store
        .rebuild("items")
        .switch_timeout(Duration::from_millis(1))
        .run();
    // Of no document, because the open append has locked the one that counts all.
    let confirmed = CartEvent::ShoppingCartConfirmed {
        client_id: "anna".into(),
        total_amount: 1.0,
    };
    store.append_to_stream("Cart-other", &[confirmed])?;
    session.rollback()?;

    assert!(
        matches!(&blocked, Err(Error::Projection(ProjectionError::RebuildBlocked { projection, .. })) if projection == "items"),
        "{blocked:?}"
    );
    assert_eq!(model(&store, "items")?, before);
    assert_cleaned_up(&database)
}

#[test]
fn a_writer_without_the_projection_that_holds_the_feed_back_is_waited_for() -> anyhow::Result<()> {
    let (database, store) = store_with(30)?;
    let plain = EventStore::open(database.url())?;
    let open_append = || -> anyhow::Result<_> {
        let mut session = plain.begin()?;
        session.append_to_stream("Cart-plain", &[added("hat", 100)])?;
        Ok(session)
    };

    let session = open_append()?;
    append(&store, 3)?;
    let blocked = store
        .rebuild("items")
        .switch_timeout(Duration::from_millis(1))
        .run();
    session.rollback()?;
    let Err(Error::Projection(ProjectionError::RebuildBlocked { reason, .. })) = blocked else {
        panic!("{blocked:?}")
    };
    assert!(reason.contains("holds the feed back"), "{reason}");

    let mut session = Some(open_append()?);
    append(&store, 3)?;
    let report = store
        .rebuild("items")
        .on_progress(|progress| {
            // The batches before the open append; then it is committed.
            if progress.handled == 33 {
                let session = session.take().expect("an open append");
                session.commit().expect("a commit");
            }
        })
        .run()?;
    assert_eq!(report.handled, 37);
    assert_eq!(model(&store, "items")?, folded(&store)?);
    assert_cleaned_up(&database)
}

#[test]
fn only_one_rebuild_of_a_projection_runs_at_a_time() -> anyhow::Result<()> {
    let (database, store) = store_with(30)?;
    let mut second = None;

    store
        .rebuild("items")
        .batch_size(10)
        .on_progress(|_| {
            second.get_or_insert_with(|| store.rebuild("items").run());
        })
        .run()?;

    let Some(Err(Error::Projection(ProjectionError::RebuildRunning { projection, .. }))) = second
    else {
        panic!("{second:?}")
    };
    assert_eq!(projection, "items");
    assert_cleaned_up(&database)
}

#[test]
fn a_rebuild_whose_claim_the_server_has_ended_does_not_switch() -> anyhow::Result<()> {
    let (database, store) = store_with(30)?;
    damage(&store)?;
    let before = model(&store, "items")?;
    let mut killer = database.client()?;

    let lost = store
        .rebuild("items")
        .on_progress(|_| {
            let ended = killer
                .query(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks
                      WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ExclusiveLock' AND pid <> pg_backend_pid()
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                    &[],
                )
                .expect("an answer");
            assert_eq!(ended.len(), 1);
        })
        .run();

    assert!(lost.is_err_and(|error| error.is_retryable()));
    assert_eq!(model(&store, "items")?, before);
    store.rebuild("items").run()?;
    assert_eq!(model(&store, "items")?, folded(&store)?);
    assert_cleaned_up(&database)
}

#[test]
fn a_pool_that_is_too_small_is_said_at_once() -> anyhow::Result<()> {
    let (database, _) = store_with(1)?;
    let store = EventStore::builder(database.url())
        .inline_projection(super::items())
        .connection_options(ConnectionOptions::new().pool_size(2))
        .open()?;

    let refused = store.rebuild("items").workers(2).run();
    store.rebuild("items").run()?;

    let Err(Error::InvalidInput { what, reason, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (what.as_str(), reason.as_str()),
        (
            "the pool size",
            "must be at least 4 for a rebuild with 2 workers"
        )
    );
    Ok(())
}

#[test]
fn a_read_model_in_a_table_of_pongo_for_node_keeps_the_versions_of_what_has_not_changed()
-> anyhow::Result<()> {
    let database = database();
    database.client()?.batch_execute(
        "CREATE TABLE items (
             _id TEXT PRIMARY KEY, data JSONB NOT NULL, metadata JSONB NOT NULL DEFAULT '{}',
             _version BIGINT NOT NULL DEFAULT 1, _partition TEXT NOT NULL DEFAULT 'png_global',
             _archived BOOLEAN NOT NULL DEFAULT FALSE, _created TIMESTAMPTZ NOT NULL DEFAULT now(),
             _updated TIMESTAMPTZ NOT NULL DEFAULT now())",
    )?;
    let store = open(&database)?;
    append(&store, 20)?;
    let stored = || -> anyhow::Result<Vec<(String, Value)>> {
        let sql = "SELECT _id, data FROM items ORDER BY _id COLLATE \"C\"";
        let rows = database.client()?.query(sql, &[])?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    };
    let before = stored()?;
    assert!(
        before
            .iter()
            .all(|(id, data)| data["_id"] == *id && data["_version"] != "1")
    );

    store.rebuild("items").run()?;
    assert_eq!(stored()?, before);

    // A document that is not what the events say is written.
    store
        .collection::<Value>("items")
        .update_one(json!({"_id": "hat"}), json!({"$set": {"n": 1_000_000}}))?;
    store.rebuild("items").run()?;
    assert_eq!(model(&store, "items")?, folded(&store)?);
    Ok(())
}

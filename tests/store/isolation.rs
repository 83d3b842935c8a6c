//! The caller's transactions above READ COMMITTED: stale snapshots must not store wrong data.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{DocumentProjection, Error, EventStore, Recorded, rebuild::OnHistory};
use postgres::IsolationLevel;
use serde_json::{Value, json};

const STALE_LEVELS: [IsolationLevel; 2] =
    [IsolationLevel::RepeatableRead, IsolationLevel::Serializable];

fn rows_of(client: &mut postgres::Client, stream: &str) -> anyhow::Result<i64> {
    let row = client.query_one(
        "SELECT count(*) FROM emt_streams WHERE stream_id = $1",
        &[&stream],
    )?;
    Ok(row.get(0))
}

#[test]
fn a_stream_that_was_archived_behind_the_snapshot_is_not_begun_again() -> anyhow::Result<()> {
    for level in STALE_LEVELS {
        let (database, store) = store()?;
        store.append_to_stream("Cart-1", &[added("shoes-1", 1)])?;
        let mut client = database.client()?;

        let mut transaction = client.build_transaction().isolation_level(level).start()?;
        transaction.query_one("SELECT count(*) FROM emt_streams", &[])?;
        store.archive_stream("Cart-1")?;
        let refused = store.in_transaction(&mut transaction, |session| {
            Ok(session.append_to_stream("Cart-1", &[added("shirt-7", 1)])?)
        });
        transaction.rollback()?;

        let error = refused.expect_err("the snapshot does not show the archived stream");
        assert!(error.is_retryable(), "{error:?}");
        assert_eq!(rows_of(&mut client, "Cart-1")?, 1);
    }
    Ok(())
}

#[test]
fn a_stream_that_is_archived_in_the_snapshot_refuses_and_a_new_one_begins() -> anyhow::Result<()> {
    for level in STALE_LEVELS {
        let (database, store) = store()?;
        store.append_to_stream("Cart-1", &[added("shoes-1", 1)])?;
        store.archive_stream("Cart-1")?;
        let mut client = database.client()?;

        let mut transaction = client.build_transaction().isolation_level(level).start()?;
        store.in_transaction(&mut transaction, |session| {
            let refused = session.append_to_stream("Cart-1", &[added("shirt-7", 1)]);
            assert!(
                matches!(refused, Err(Error::StreamArchived { version: 1, .. })),
                "{refused:?}"
            );
            session.append_to_stream("Cart-2", &[added("shirt-7", 1)])?;
            Ok(())
        })?;
        transaction.commit()?;

        assert_eq!(rows_of(&mut client, "Cart-1")?, 1);
        assert_eq!(store.read_stream::<CartEvent>("Cart-2")?.current_version, 1);
        let archived =
            client.query_one("SELECT count(*) FROM emt_streams WHERE is_archived", &[])?;
        assert_eq!(
            archived.get::<_, i64>(0),
            1,
            "the look for an archived stream leaves nothing behind"
        );
    }
    Ok(())
}

#[test]
fn a_contended_append_is_a_serialization_error_and_no_conflict() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes-1", 1)])?;
    let mut client = database.client()?;

    let mut transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::Serializable)
        .start()?;
    transaction.query_one("SELECT count(*) FROM emt_streams", &[])?;
    store.append_to_stream("Cart-1", &[added("shirt-7", 1)])?;
    let refused = store.in_transaction(&mut transaction, |session| {
        Ok(session.append_to_stream("Cart-1", &[added("hat-2", 1)])?)
    });

    let error = refused.expect_err("the stream has moved behind the snapshot");
    assert!(error.is_retryable() && !error.is_conflict(), "{error:?}");
    Ok(())
}

fn counting(version: u32) -> DocumentProjection<Value> {
    DocumentProjection::single_stream("counts", |count: Option<Value>, _: &Recorded<CartEvent>| {
        let events = count
            .and_then(|count| count["events"].as_u64())
            .unwrap_or(0);
        Some(json!({ "events": events + 1 }))
    })
    .version(version)
}

#[test]
fn a_projection_that_was_replaced_behind_the_snapshot_is_not_written() -> anyhow::Result<()> {
    let database = crate::support::database();
    let old = EventStore::builder(database.url())
        .inline_projection(counting(1))
        .open()?;
    let new = EventStore::builder(database.url())
        .inline_projection(counting(2))
        .on_history(OnHistory::Leave)
        .open()?;
    let mut client = database.client()?;

    let mut transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()?;
    transaction.query_one("SELECT count(*) FROM emt_projections", &[])?;
    new.rebuild("counts").run()?;
    let refused = old.in_transaction(&mut transaction, |session| {
        Ok(session.append_to_stream("Cart-1", &[added("shoes-1", 1)])?)
    });
    transaction.rollback()?;

    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(
        new.append_to_stream("Cart-1", &[added("shoes-1", 1)])?
            .next_expected_version,
        1
    );
    Ok(())
}

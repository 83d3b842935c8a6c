//! Several operations in one transaction.

mod aborted;
mod borrowed;

use crate::support::{CartEvent, added, database, quiet, store, wait_until};
use emmett_postgresql::{
    AppendOptions, ConnectionOptions, Error, EventStore, ExpectedVersion, RawEvent, StreamMessages,
    database::DatabaseError,
};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// Ends all other sessions of the database, and waits until they have ended.
fn terminate_others(client: &mut postgres::Client) -> anyhow::Result<()> {
    const OTHERS: &str =
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    client.execute(&format!("SELECT pg_terminate_backend(pid) {OTHERS}"), &[])?;
    wait_until("the other sessions have ended", || {
        client
            .query_one(&format!("SELECT count(*) {OTHERS}"), &[])
            .is_ok_and(|row| row.get::<_, i64>(0) == 0)
    });
    Ok(())
}

#[test]
fn all_appends_of_a_session_are_stored_or_none() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("a", 1)])?;
        session.append_to_stream("Cart-2", &[added("b", 1)])?;
        Ok(())
    })?;
    let failed = store.with_session(|session| -> anyhow::Result<()> {
        session.append_to_stream("Cart-1", &[added("c", 1)])?;
        session.append_to_stream("Cart-3", &[added("d", 1)])?;
        anyhow::bail!("changed my mind")
    });

    assert!(
        matches!(&failed, Err(Error::Session { source, .. }) if source.to_string() == "changed my mind")
    );
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.current_version, 1);
    assert!(store.stream_exists("Cart-2")? && !store.stream_exists("Cart-3")?);
    Ok(())
}

#[test]
fn a_panic_in_a_session_stores_nothing_and_the_store_goes_on() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .open()?;

    for _ in 0..3 {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            store.with_session(|session| -> anyhow::Result<()> {
                session.append_to_stream("Cart-1", &[added("a", 1)])?;
                panic!("on purpose")
            })
        }));
        assert!(panicked.is_err());
    }

    assert!(!store.stream_exists("Cart-1")?);
    assert_eq!(
        store
            .append_to_stream("Cart-1", &[added("a", 1)])?
            .next_expected_version,
        1
    );
    Ok(())
}

#[test]
fn a_session_whose_connection_is_killed_stores_nothing_and_the_store_goes_on() -> anyhow::Result<()>
{
    let database = database();
    let store = quiet(database.url()).open()?;
    let mut killer = database.client()?;

    let interrupted = store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("a", 1)])?;
        terminate_others(&mut killer)?;
        session.append_to_stream("Cart-2", &[added("b", 1)])?;
        Ok(())
    });
    let mut explicit = store.begin()?;
    explicit.append_to_stream("Cart-3", &[added("a", 1)])?;
    terminate_others(&mut killer)?;
    let lost = explicit.commit();

    assert!(
        interrupted.is_err() && lost.is_err(),
        "{interrupted:?} {lost:?}"
    );
    for stream in ["Cart-1", "Cart-2", "Cart-3"] {
        assert!(!store.stream_exists(stream)?, "{stream}");
    }
    assert_eq!(
        store
            .append_to_stream("Cart-1", &[added("a", 1)])?
            .next_expected_version,
        1
    );
    Ok(())
}

#[test]
fn connections_that_died_in_the_pool_are_replaced_unnoticed() -> anyhow::Result<()> {
    let database = database();
    let store = quiet(database.url())
        .connection_options(ConnectionOptions::new().pool_size(4))
        .open()?;
    let mut killer = database.client()?;

    for round in 1..=5 {
        let busy: Vec<_> = (0..4).map(|_| store.begin()).collect::<Result<_, _>>()?;
        drop(busy);
        terminate_others(&mut killer)?;

        assert_eq!(
            store
                .append_to_stream("Cart-1", &[added("a", 1)])?
                .next_expected_version,
            round
        );
        terminate_others(&mut killer)?;
        store.with_session(|session| Ok(session.append_to_stream("Cart-2", &[added("a", 1)])?))?;
        terminate_others(&mut killer)?;
        assert_eq!(
            store.read_stream::<CartEvent>("Cart-2")?.current_version,
            round
        );
    }
    Ok(())
}

#[test]
fn an_explicit_session_is_stored_by_its_commit_alone() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let mut committed = store.begin()?;
    committed.append_to_stream("Cart-1", &[added("a", 1)])?;
    assert!(
        !store.stream_exists("Cart-1")?,
        "nobody else sees it before"
    );
    assert!(
        committed.stream_exists("Cart-1")?,
        "the session itself does"
    );
    committed.commit()?;
    let mut rolled_back = store.begin()?;
    rolled_back.append_to_stream("Cart-2", &[added("a", 1)])?;
    rolled_back.rollback()?;
    let mut dropped = store.begin()?;
    dropped.append_to_stream("Cart-3", &[added("a", 1)])?;
    drop(dropped);

    let exist = ["Cart-1", "Cart-2", "Cart-3"]
        .map(|stream| store.stream_exists(stream).expect("an answer"));
    assert_eq!(exist, [true, false, false]);
    Ok(())
}

#[test]
fn a_commit_after_a_failed_statement_is_an_error() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let swallowed = store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("a", 1)])?;
        let _ = session.execute("SELECT 1 / 0", &[]);
        Ok(())
    });

    assert!(
        matches!(
            swallowed,
            Err(Error::Database(DatabaseError::TransactionAborted { .. }))
        ),
        "{swallowed:?}"
    );
    assert!(!store.stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn a_session_cannot_be_committed_by_sql() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    for sql in [
        "COMMIT",
        "  -- done\n COMMIT",
        "END",
        "ROLLBACK",
        "SELECT 1; COMMIT",
        "PREPARE TRANSACTION 'x'",
    ] {
        let refused = store.with_session(|session| {
            session.append_to_stream("Cart-1", &[added("a", 1)])?;
            Ok(session.batch_execute(sql)?)
        });
        assert!(
            matches!(
                refused,
                Err(Error::Database(DatabaseError::TransactionControl { .. }))
            ),
            "{sql}: {refused:?}"
        );
    }

    assert!(!store.stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn a_conflict_leaves_the_session_usable() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("a", 1)])?;
        let stale = AppendOptions::new().expected_version(7);
        let conflict = session.append_to_stream_with("Cart-1", &[added("b", 1)], stale.clone());
        assert!(matches!(conflict, Err(Error::Conflict { actual: 1, .. })), "{conflict:?}");
        let several = session.append_to_streams(vec![
            StreamMessages::new("Cart-0", &[added("c", 1)])?,
            StreamMessages::with("Cart-2", &[added("c", 1)], &stale)?,
        ]);
        assert!(matches!(&several, Err(Error::Conflict { stream, actual: 0, .. }) if stream == "Cart-2"), "{several:?}");
        session.append_to_stream("Cart-3", &[added("d", 1)])?;
        Ok(())
    })?;

    let exist = ["Cart-0", "Cart-1", "Cart-2", "Cart-3"]
        .map(|stream| store.stream_exists(stream).expect("an answer"));
    assert_eq!(exist, [false, true, false, true]);
    Ok(())
}

#[test]
fn a_nested_part_fails_alone() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("a", 1)])?;
        let failed = session.nested(|nested| {
            nested.append_to_stream("Cart-1", &[added("b", 1)])?;
            nested.nested(|inner| Ok(inner.append_to_stream("Cart-2", &[added("c", 1)])?))?;
            nested.execute("SELECT 1 / 0", &[])?;
            Ok(())
        });
        assert!(
            matches!(
                failed,
                Err(Error::Database(DatabaseError::Statement { .. }))
            ),
            "{failed:?}"
        );
        session.nested(|nested| Ok(nested.append_to_stream("Cart-3", &[added("d", 1)])?))?;
        Ok(())
    })?;

    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.current_version, 1);
    assert!(!store.stream_exists("Cart-2")? && store.stream_exists("Cart-3")?);
    Ok(())
}

#[test]
fn a_nested_part_that_swallows_an_error_fails() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let outcome = store.with_session(|session| {
        let nested = session.nested(|nested| {
            nested.append_to_stream("Cart-1", &[added("a", 1)])?;
            let _ = nested.execute("SELECT 1 / 0", &[]);
            Ok(())
        });
        assert!(nested.is_err(), "{nested:?}");
        session.append_to_stream("Cart-2", &[added("a", 1)])?;
        Ok(())
    });

    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(!store.stream_exists("Cart-1")? && store.stream_exists("Cart-2")?);
    Ok(())
}

#[test]
fn the_callers_own_transaction_decides() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;

    for (stream, commit) in [("Cart-1", true), ("Cart-2", false)] {
        let mut transaction = client.transaction()?;
        transaction.batch_execute("CREATE TABLE IF NOT EXISTS notes (stream TEXT)")?;
        store.in_transaction(&mut transaction, |session| {
            session.append_to_stream(stream, &[added("a", 1)])?;
            session.execute("INSERT INTO notes VALUES ($1)", &[&stream])?;
            Ok(())
        })?;
        if commit {
            transaction.commit()?;
        } else {
            transaction.rollback()?;
        }
    }
    let mut aborted = client.transaction()?;
    let swallowed = store.in_transaction(&mut aborted, |session| {
        let _ = session.execute("SELECT 1 / 0", &[]);
        Ok(())
    });

    assert!(
        matches!(
            swallowed,
            Err(Error::Database(DatabaseError::TransactionAborted { .. }))
        ),
        "{swallowed:?}"
    );
    drop(aborted);
    assert!(store.stream_exists("Cart-1")? && !store.stream_exists("Cart-2")?);
    assert_eq!(
        client
            .query_one("SELECT stream FROM notes", &[])?
            .get::<_, &str>(0),
        "Cart-1"
    );
    Ok(())
}

#[test]
fn documents_sql_and_events_share_the_transaction() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let orders = store.collection::<Value>("orders");
    orders.insert_one(&json!({"_id": "0"}))?;

    let failed = store.with_session(|session| -> anyhow::Result<()> {
        session
            .collection::<Value>("orders")
            .insert_one(&json!({"_id": "1", "total": 5}))?;
        session.append_to_stream("Order-1", &[RawEvent::new("Placed", json!({}))])?;
        let seen = session
            .collection::<Value>("orders")
            .find_one(json!({"total": 5}))?;
        assert!(seen.is_some(), "the session sees its own documents");
        let rows = session.query("SELECT count(*) FROM emt_messages", &[])?;
        assert_eq!(rows[0].get::<_, i64>(0), 1, "and its own messages");
        anyhow::bail!("no")
    });

    assert!(failed.is_err());
    assert_eq!(orders.count_documents(json!({}))?, 1);
    assert!(!store.stream_exists("Order-1")?);
    Ok(())
}

#[test]
fn a_session_reads_and_folds_what_it_has_appended() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("a", 2), added("b", 3)])?;
        let folded = session.aggregate_stream(
            "Cart-1",
            || 0,
            |items, event: CartEvent| match event {
                CartEvent::ProductItemAdded { quantity, .. } => items + quantity,
                _ => items,
            },
        )?;
        assert_eq!((folded.state, folded.current_version), (5, 2));
        assert_eq!(session.read_stream::<CartEvent>("Cart-1")?.events.len(), 2);
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_thousand_appends_of_a_session_take_two_locks_of_the_fence() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut client = database.client()?;

    let mut session = store.begin()?;
    for number in 0..1_000 {
        session.append_to_stream(&format!("Cart-{number}"), &[added("a", 1)])?;
    }
    let locks = client.query_one(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        &[],
    )?;

    // The first append takes one without looking, because the transaction has written nothing yet; the second takes the
    // one that all others find.
    assert_eq!(locks.get::<_, i64>(0), 2);
    session.commit()?;
    Ok(())
}

#[test]
fn appends_to_several_streams_in_opposite_orders_do_not_deadlock() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    thread::scope(|scope| {
        for writer in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..50 {
                    let mut streams = ["Cart-1", "Cart-2", "Cart-3"];
                    streams.rotate_left(writer % 3);
                    let appends = streams.map(|stream| {
                        StreamMessages::new(stream, &[added("a", 1)]).expect("messages")
                    });
                    let appended = store
                        .append_to_streams(appends.into())
                        .expect("no deadlock");
                    assert_eq!(appended.len(), 3);
                }
            });
        }
    });

    for stream in ["Cart-1", "Cart-2", "Cart-3"] {
        assert_eq!(store.read_stream::<CartEvent>(stream)?.current_version, 400);
    }
    Ok(())
}

#[test]
fn an_append_to_several_streams_answers_in_the_order_of_the_call() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-9", &[added("a", 1)])?;

    let appended = store.append_to_streams(vec![
        StreamMessages::new("Cart-9", &[added("b", 1), added("c", 1)])?,
        StreamMessages::with(
            "Cart-1",
            &[added("d", 1)],
            &AppendOptions::new().expect(ExpectedVersion::DoesNotExist),
        )?,
        StreamMessages::new("Cart-9", &[added("e", 1)])?,
    ])?;

    let versions: Vec<_> = appended
        .iter()
        .map(|one| (one.next_expected_version, one.created_new_stream))
        .collect();
    assert_eq!(versions, [(3, false), (1, true), (4, false)]);
    Ok(())
}

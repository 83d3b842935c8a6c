//! Sessions that cannot be committed, whatever their closure returns.

use crate::support::{CartEvent, added, database, store, wait_until};
use emmett_postgresql::{ConnectionOptions, Error, EventStore, Result, database::DatabaseError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;

#[test]
fn a_deferred_constraint_that_fails_at_the_commit_stores_nothing() -> anyhow::Result<()> {
    let (database, store) = store()?;
    database.client()?.batch_execute(
        "CREATE TABLE tickets (seat INTEGER UNIQUE DEFERRABLE INITIALLY DEFERRED)",
    )?;
    let sell = |seats: &[i32]| {
        store.with_session(|session| {
            for seat in seats {
                session.append_to_stream(&format!("Seat-{seat}"), &[added("ticket", 1)])?;
                session.execute("INSERT INTO tickets VALUES ($1)", &[seat])?;
            }
            Ok(())
        })
    };

    let error = sell(&[7, 7]).expect_err("one seat, two tickets");

    assert!(
        matches!(error, Error::Database(DatabaseError::Statement { .. })),
        "{error:?}"
    );
    assert!(!error.is_retryable() && !error.is_conflict());
    assert!(error.to_string().contains("tickets_seat_key"), "{error}");
    assert!(!store.stream_exists("Seat-7")?);
    sell(&[7, 8])?;
    assert_eq!(store.read_stream::<CartEvent>("Seat-7")?.current_version, 1);
    Ok(())
}

#[test]
fn a_session_that_ignores_the_refusal_of_its_commit_is_not_committed() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for sql in [
        "COMMIT",
        "ROLLBACK -- TO x",
        "-- done\rCOMMIT",
        "SELECT 1; /* and */ END",
    ] {
        let outcome = store.with_session(|session| {
            session.append_to_stream("Cart-1", &[added("hat", 1)])?;
            let refused = [
                session.batch_execute(sql).err(),
                session.execute(sql, &[]).err(),
                session.query(sql, &[]).err(),
            ];
            assert!(
                refused
                    .iter()
                    .all(|error| matches!(error, Some(DatabaseError::TransactionControl { .. }))),
                "{refused:?}"
            );
            Ok(())
        });

        assert!(
            matches!(
                outcome,
                Err(Error::Database(DatabaseError::TransactionAborted { .. }))
            ),
            "{sql}: {outcome:?}"
        );
        assert!(!store.stream_exists("Cart-1")?);
    }
    Ok(())
}

#[test]
fn code_on_the_server_cannot_commit_a_session_either() -> anyhow::Result<()> {
    let (database, store) = store()?;
    database
        .client()?
        .batch_execute("CREATE PROCEDURE finish() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'")?;
    for sql in [
        "CALL finish()",
        "DO $$ BEGIN COMMIT; END $$",
        "DO $$ BEGIN ROLLBACK; END $$",
    ] {
        let outcome = store.with_session(|session| {
            session.append_to_stream("Cart-1", &[added("hat", 1)])?;
            assert!(session.batch_execute(sql).is_err());
            Ok(())
        });

        assert!(
            matches!(
                outcome,
                Err(Error::Database(DatabaseError::TransactionAborted { .. }))
            ),
            "{sql}: {outcome:?}"
        );
        assert!(!store.stream_exists("Cart-1")?);
    }
    Ok(())
}

#[test]
fn of_two_sessions_that_wait_for_each_other_one_fails_and_may_be_repeated() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let both_have_one = Barrier::new(2);
    let transfer = |from: &str, to: &str, meet: bool| -> Result<()> {
        store.with_session(|session| {
            session.execute("SET LOCAL deadlock_timeout = '10ms'", &[])?;
            session.append_to_stream(from, &[added("hat", 1)])?;
            if meet {
                both_have_one.wait();
            }
            session.append_to_stream(to, &[added("hat", 1)])?;
            Ok(())
        })
    };

    let outcomes = std::thread::scope(|scope| {
        let there = scope.spawn(|| transfer("Cart-1", "Cart-2", true));
        let back = scope.spawn(|| transfer("Cart-2", "Cart-1", true));
        [there, back].map(|thread| thread.join().expect("no panic"))
    });
    let stored = store.read_stream::<CartEvent>("Cart-1")?.current_version;
    transfer("Cart-1", "Cart-2", false)?;

    let errors: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!((errors.len(), stored), (1, 1), "{errors:?}");
    assert!(
        errors[0].is_retryable() && !errors[0].is_conflict(),
        "{errors:?}"
    );
    assert_eq!(store.read_stream::<CartEvent>("Cart-2")?.current_version, 2);
    Ok(())
}

#[test]
fn a_lock_that_is_not_granted_in_time_is_retryable() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let mut holder = store.begin()?;
    holder.append_to_stream("Cart-1", &[added("hat", 1)])?;

    let error = store
        .with_session(|session| {
            session.execute("SET LOCAL lock_timeout = '20ms'", &[])?;
            Ok(session.append_to_stream("Cart-1", &[added("hat", 1)])?)
        })
        .expect_err("the stream is locked");

    assert!(error.is_retryable() && !error.is_conflict(), "{error:?}");
    holder.commit()?;
    assert_eq!(
        store
            .append_to_stream("Cart-1", &[added("hat", 1)])?
            .next_expected_version,
        2
    );
    Ok(())
}

#[test]
fn settings_of_a_session_do_not_outlive_it() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .open()?;

    store.with_session(|session| {
        session.execute("SET LOCAL search_path = nowhere", &[])?;
        Ok(session.append_to_stream("Cart-1", &[added("hat", 1)])?)
    })?;
    let path = store.with_session(|session| {
        let rows = session.query("SELECT current_setting('search_path')", &[])?;
        Ok(rows[0].try_get::<_, String>(0)?)
    })?;

    assert!(path.contains("public"), "{path}");
    Ok(())
}

#[test]
fn a_panic_in_a_nested_part_takes_the_part_back_alone() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("hat", 1)])?;
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            session.nested(|nested| -> anyhow::Result<()> {
                nested.append_to_stream("Cart-2", &[added("hat", 1)])?;
                panic!("on purpose")
            })
        }));
        assert!(panicked.is_err());
        session.append_to_stream("Cart-3", &[added("hat", 1)])?;
        Ok(())
    })?;

    let exist = ["Cart-1", "Cart-2", "Cart-3"]
        .map(|stream| store.stream_exists(stream).expect("an answer"));
    assert_eq!(exist, [true, false, true]);
    Ok(())
}

#[test]
fn a_session_that_waits_for_a_stream_sees_what_the_other_has_committed() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let mut first = store.begin()?;
    first.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let mut observer = database.client()?;
    let mut waiting = || -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'";
        observer.query_one(sql, &[]).expect("an answer").get(0)
    };

    let (appended, seen) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let second = scope.spawn(|| {
            store.with_session(|session| {
                let appended = session.append_to_stream("Cart-1", &[added("hat", 2)])?;
                Ok((appended, session.read_stream::<CartEvent>("Cart-1")?))
            })
        });
        wait_until("the second waits for the first", || waiting() == 1);
        first.commit()?;
        Ok(second.join().expect("no panic")?)
    })?;

    assert_eq!(appended.next_expected_version, 2);
    assert_eq!((seen.current_version, seen.events.len()), (2, 2));
    Ok(())
}

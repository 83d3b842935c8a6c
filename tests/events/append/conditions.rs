//! Streams that an append only requires to be at a version.

use crate::support::{CartEvent, added, store, wait_until};
use emmett_postgresql::{
    AppendOptions, Error, EventStore, ExpectedVersion, NewMessage, Result, StreamMessages,
};
use std::sync::Barrier;

fn require(stream: &str, expected: ExpectedVersion) -> Result<StreamMessages> {
    StreamMessages::require(stream, expected)
}

fn hat(stream: &str) -> Result<StreamMessages> {
    StreamMessages::new(stream, &[added("hat", 1)])
}

fn version(store: &EventStore, stream: &str) -> Result<u64> {
    Ok(store.read_stream::<CartEvent>(stream)?.current_version)
}

#[test]
fn a_condition_that_holds_lets_the_others_be_appended() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1), added("shoes", 2)])?;

    for (expected, held) in [(ExpectedVersion::Exact(2), 2), (ExpectedVersion::Exists, 2)] {
        let appended =
            store.append_to_streams(vec![hat("Cart-0")?, require("Cart-1", expected)?])?;
        assert_eq!(appended[0].global_positions.len(), 1);
        assert_eq!(appended[1].next_expected_version, held);
        assert!(appended[1].global_positions.is_empty() && !appended[1].created_new_stream);
    }
    let missing = require("Cart-9", ExpectedVersion::DoesNotExist)?;
    let appended = store.append_to_streams(vec![missing, hat("Cart-0")?])?;
    assert_eq!(appended[0].next_expected_version, 0);
    assert!(!appended[0].created_new_stream);

    assert_eq!(version(&store, "Cart-0")?, 3);
    assert_eq!(version(&store, "Cart-1")?, 2);
    assert!(!store.stream_exists("Cart-9")?, "no placeholder stays");
    store.append_to_stream_with(
        "Cart-9",
        &[added("hat", 1)],
        AppendOptions::new().expect(ExpectedVersion::DoesNotExist),
    )?;
    Ok(())
}

#[test]
fn a_condition_that_does_not_hold_is_a_conflict_and_nothing_is_stored() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    store.append_to_stream("Cart-2", &[added("shoes", 1)])?;
    store.archive_stream("Cart-2")?;

    for (stream, expected, actual) in [
        ("Cart-1", ExpectedVersion::Exact(2), 1),
        ("Cart-1", ExpectedVersion::DoesNotExist, 1),
        ("Cart-3", ExpectedVersion::Exact(1), 0),
        ("Cart-3", ExpectedVersion::Exists, 0),
    ] {
        // One append comes before the condition, one after it.
        let streams = vec![hat("Cart-9")?, hat("Cart-0")?, require(stream, expected)?];
        let Err(Error::Conflict {
            stream: named,
            expected: told,
            actual: met,
            ..
        }) = store.append_to_streams(streams)
        else {
            panic!("{stream} is not at {expected:?}");
        };
        assert_eq!((named.as_str(), told, met), (stream, expected, actual));
    }
    for expected in [ExpectedVersion::DoesNotExist, ExpectedVersion::Exact(1)] {
        let refused = store.append_to_streams(vec![hat("Cart-9")?, require("Cart-2", expected)?]);
        assert!(
            matches!(refused, Err(Error::StreamArchived { version: 1, .. })),
            "{refused:?}"
        );
    }
    assert!(!store.stream_exists("Cart-0")? && !store.stream_exists("Cart-9")?);
    Ok(())
}

#[test]
fn a_condition_without_a_version_or_on_a_stream_that_is_appended_to_is_refused()
-> anyhow::Result<()> {
    let (database, store) = store()?;
    let any = require("Cart-1", ExpectedVersion::Any).expect_err("requires nothing");
    assert!(
        any.to_string().contains("condition on stream \"Cart-1\""),
        "{any}"
    );
    let both = store
        .append_to_streams(vec![
            hat("Cart-1")?,
            require("Cart-1", ExpectedVersion::DoesNotExist)?,
        ])
        .expect_err("two wishes");
    assert!(
        both.to_string()
            .contains("give the append the expected version"),
        "{both}"
    );

    let without = database.client()?.batch_execute(
        "SELECT emt_append_to_streams('{Cart-1}', '{Cart}', 'emt:default', '{NULL}', '{0}', '{}', '{}', '{}', '{}', '{}', '{}')",
    );
    let code = without
        .expect_err("no version")
        .code()
        .map(|code| code.code().to_owned());
    assert_eq!(code.as_deref(), Some("22023"));
    Ok(())
}

#[test]
fn plain_sql_can_require_a_version() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let mut client = database.client()?;
    let mut results = |expected: i64| -> anyhow::Result<Vec<Vec<i64>>> {
        let rows = client.query(
            "SELECT result FROM emt_append_to_streams('{Cart-1}', '{Cart}', 'emt:default', ARRAY[$1::BIGINT], '{0}', '{}', '{}',
                                                      '{}', '{}', '{}', '{}')",
            &[&expected],
        )?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    };
    assert_eq!(results(1)?, [[5, 1]]);
    assert_eq!(results(7)?, [[1, 1]]);
    Ok(())
}

#[test]
fn a_repeated_call_finds_its_messages_although_the_condition_no_longer_holds() -> anyhow::Result<()>
{
    let (_database, store) = store()?;
    let call = || -> Result<_> {
        let message = NewMessage::new(added("hat", 1)).message_id("order-7");
        store.append_to_streams(vec![
            require("Cart-0", ExpectedVersion::DoesNotExist)?,
            StreamMessages::new("Cart-1", &[message])?,
            require("Cart-2", ExpectedVersion::DoesNotExist)?,
        ])
    };
    let first = call()?;
    for stream in ["Cart-0", "Cart-2"] {
        store.append_to_stream(stream, &[added("shoes", 1)])?;
    }

    let second = call()?;

    assert!(second[1].already_appended);
    assert_eq!(first[1].global_positions, second[1].global_positions);
    let other = store.append_to_streams(vec![
        require("Cart-0", ExpectedVersion::DoesNotExist)?,
        StreamMessages::new(
            "Cart-1",
            &[NewMessage::new(added("hat", 1)).message_id("order-8")],
        )?,
    ]);
    assert!(other.is_err_and(|error| error.is_conflict()));
    assert_eq!(version(&store, "Cart-1")?, 1);
    Ok(())
}

#[test]
fn until_the_transaction_ends_nobody_appends_to_a_stream_that_it_requires() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let mut observer = database.client()?;

    for (stream, expected) in [
        ("Cart-1", ExpectedVersion::Exact(1)),
        ("Cart-2", ExpectedVersion::DoesNotExist),
    ] {
        let mut session = store.begin()?;
        session.append_to_streams(vec![require(stream, expected)?, hat("Cart-0")?])?;
        std::thread::scope(|scope| {
            let options = AppendOptions::new().expect(expected);
            let append = || store.append_to_stream_with(stream, &[added("hat", 1)], options);
            let appending = scope.spawn(append);
            wait_until("the append waits", || is_waiting(&mut observer));
            session.commit()?;
            appending.join().expect("no panic").map(|_| ())
        })?;
    }
    Ok(())
}

#[test]
fn readers_of_one_stream_do_not_wait_for_each_other() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    let mut session = store.begin()?;
    session.append_to_streams(vec![
        require("Cart-1", ExpectedVersion::Exact(1))?,
        hat("Cart-2")?,
    ])?;

    store.append_to_streams(vec![
        require("Cart-1", ExpectedVersion::Exact(1))?,
        hat("Cart-3")?,
    ])?;

    session.commit()?;
    Ok(())
}

/// Write skew: each call has read both streams and appends to one of them.
#[test]
fn two_calls_that_require_what_the_other_appends_to_never_both_succeed() -> anyhow::Result<()> {
    const THREADS: usize = 8;
    let (_database, store) = store()?;
    let rounds = std::env::var("EMMETT_TEST_SKEW_ROUNDS").map_or(Ok(60), |text| text.parse())?;
    for round in 0..rounds {
        let (left, right) = (format!("Left-{round}"), format!("Right-{round}"));
        // In each second round, neither stream exists.
        let before = u64::from(round % 2 == 0);
        if before == 1 {
            store.append_to_streams(vec![hat(&left)?, hat(&right)?])?;
        }
        let start = Barrier::new(THREADS);
        let decide = &|number: usize| -> Result<bool> {
            let (own, other) = if number.is_multiple_of(2) {
                (&left, &right)
            } else {
                (&right, &left)
            };
            let expected = ExpectedVersion::Exact(before);
            let streams = vec![
                require(other, expected)?,
                StreamMessages::with(
                    own,
                    &[added("hat", 1)],
                    &AppendOptions::new().expect(expected),
                )?,
            ];
            start.wait();
            match store.append_to_streams(streams) {
                Ok(_) => Ok(true),
                Err(error) if error.is_conflict() => Ok(false),
                Err(error) => Err(error),
            }
        };
        let won = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|number| scope.spawn(move || decide(number)))
                .collect();
            let outcomes = threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"));
            outcomes.collect::<Result<Vec<bool>>>()
        })?;
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "round {round}");
        assert_eq!(
            version(&store, &left)? + version(&store, &right)?,
            2 * before + 1
        );
    }
    Ok(())
}

fn is_waiting(observer: &mut postgres::Client) -> bool {
    let sql = "SELECT EXISTS (SELECT FROM pg_stat_activity
                               WHERE datname = current_database() AND wait_event_type = 'Lock')";
    observer.query_one(sql, &[]).expect("an answer").get(0)
}

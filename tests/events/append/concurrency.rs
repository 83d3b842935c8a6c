//! Many concurrent appends to one stream.

use crate::support::{CartEvent, added, database, store, wait_until};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    AppendOptions, Appended, ConnectionOptions, Error, EventStore, ExpectedVersion, RawEvent,
    Result, StreamMessages,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

const CROWD: usize = 64;

#[test]
fn of_64_appends_that_expect_one_version_one_wins_and_the_others_learn_the_actual_one()
-> anyhow::Result<()> {
    let database = database();
    let store = store_for_a_crowd(&database)?;
    store.append_to_stream("Cart-1", &[added("shoes", 1), added("shoes", 2)])?;

    let outcomes = crowd(&database, HOLD_STREAM, |number| {
        let options = AppendOptions::new().expected_version(2);
        store.append_to_stream_with("Cart-1", &[added("hat", number)], options)
    })?;

    let (winner, refused) = split(outcomes)?;
    assert_eq!(winner.next_expected_version, 3);
    assert_eq!(refused.len(), CROWD - 1);
    for (expected, actual) in refused {
        assert_eq!((expected, actual), (ExpectedVersion::Exact(2), 3));
    }
    let read = store.read_stream::<CartEvent>("Cart-1")?;
    assert_eq!((read.current_version, read.events.len()), (3, 3));
    assert_eq!(read.events[2].global_position, winner.last_global_position);
    Ok(())
}

#[test]
fn of_64_appends_that_expect_no_stream_one_wins() -> anyhow::Result<()> {
    let database = database();
    let store = store_for_a_crowd(&database)?;

    let outcomes = crowd(&database, HOLD_NEW_STREAM, |number| {
        let options = AppendOptions::new().expect(ExpectedVersion::DoesNotExist);
        let events = [added("hat", number), added("shoes", number)];
        store.append_to_stream_with("Cart-1", &events, options)
    })?;

    let (winner, refused) = split(outcomes)?;
    assert!(winner.created_new_stream);
    assert_eq!(refused.len(), CROWD - 1);
    for (expected, actual) in refused {
        assert_eq!((expected, actual), (ExpectedVersion::DoesNotExist, 2));
    }
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.events.len(), 2);
    Ok(())
}

#[test]
fn of_64_appends_at_any_version_none_conflicts_and_none_is_lost() -> anyhow::Result<()> {
    for hold in [HOLD_STREAM, HOLD_NEW_STREAM] {
        let database = database();
        let store = store_for_a_crowd(&database)?;
        if hold == HOLD_STREAM {
            store.append_to_stream("Cart-1", &[added("shoes", 0)])?;
        }
        let before = store.read_stream::<CartEvent>("Cart-1")?.current_version;

        let outcomes = crowd(&database, hold, |number| {
            store.append_to_stream("Cart-1", &[added("hat", number)])
        })?;

        let appended = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
        let versions: BTreeSet<_> = appended
            .iter()
            .map(|appended| appended.next_expected_version)
            .collect();
        assert_eq!(versions, (before + 1..=before + 64).collect());
        let created = appended.iter().filter(|one| one.created_new_stream).count();
        assert_eq!(created, usize::from(before == 0));
        assert_every_append_is_stored(&store, &appended, before)?;
    }
    Ok(())
}

#[test]
fn of_64_appends_to_an_existing_stream_none_conflicts() -> anyhow::Result<()> {
    let database = database();
    let store = store_for_a_crowd(&database)?;
    store.append_to_stream("Cart-1", &[added("shoes", 0)])?;

    let outcomes = crowd(&database, HOLD_STREAM, |number| {
        let options = AppendOptions::new().expect(ExpectedVersion::Exists);
        store.append_to_stream_with("Cart-1", &[added("hat", number)], options)
    })?;

    let appended = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
    assert_every_append_is_stored(&store, &appended, 1)
}

#[test]
fn of_many_appends_to_several_streams_that_expect_one_version_one_wins_completely()
-> anyhow::Result<()> {
    let database = database();
    let store = store_for_a_crowd(&database)?;
    store.append_to_stream("Cart-1", &[added("shoes", 0)])?;

    let outcomes = crowd(&database, HOLD_STREAM, |number| {
        let expected = AppendOptions::new().expected_version(1);
        store.append_to_streams(vec![
            StreamMessages::new("Cart-0", &[added("before", number)])?,
            StreamMessages::with("Cart-1", &[added("hat", number)], &expected)?,
            StreamMessages::new("Cart-2", &[added("after", number)])?,
        ])
    })?;

    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let lost = outcomes
        .iter()
        .filter(|outcome| outcome.as_ref().is_err_and(Error::is_conflict));
    assert_eq!((won, lost.count()), (1, CROWD - 1));
    for (stream, version) in [("Cart-0", 1), ("Cart-1", 2), ("Cart-2", 1)] {
        let read = store.read_stream::<CartEvent>(stream)?;
        assert_eq!(
            (read.current_version, read.events.len()),
            (version, usize::try_from(version)?)
        );
    }
    Ok(())
}

#[test]
fn read_decide_append_loses_no_decision() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let counted = RawEvent::new("Counted", json!({}));
    let increment = || -> Result<()> {
        loop {
            let count = store.read_stream::<RawEvent>("Counter-1")?.current_version;
            let options = AppendOptions::new().expected_version(count);
            match store.append_to_stream_with("Counter-1", std::slice::from_ref(&counted), options)
            {
                Err(error) if error.is_conflict() => {}
                outcome => return outcome.map(|_| ()),
            }
        }
    };

    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..25).try_for_each(|_| increment())))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })?;

    assert_eq!(
        store.read_stream::<RawEvent>("Counter-1")?.events.len(),
        200
    );
    Ok(())
}

/// The row of the stream, so that all appends wait for it.
const HOLD_STREAM: &str = "SELECT FROM emt_streams WHERE stream_id = 'Cart-1' FOR UPDATE";

/// A stream that is being created, so that all appends wait to see whether it will be.
const HOLD_NEW_STREAM: &str =
    "INSERT INTO emt_streams (stream_id, stream_position, stream_type, stream_metadata)
     VALUES ('Cart-1', 1, 'Cart', '{}')";

fn store_for_a_crowd(database: &Database) -> Result<EventStore> {
    EventStore::builder(database.url())
        .connection_options(
            ConnectionOptions::new().pool_size(u32::try_from(CROWD).unwrap_or_default()),
        )
        .open()
}

/// Runs appends that all meet at the stream: they are let go together when each of them waits.
fn crowd<T: Send>(
    database: &Database,
    hold: &str,
    append: impl Fn(u32) -> T + Sync,
) -> anyhow::Result<Vec<T>> {
    // One crowd at a time: together they would need more connections than a server has.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut client, mut observer) = (database.client()?, database.client()?);
    let mut holder = client.transaction()?;
    holder.batch_execute(hold)?;
    std::thread::scope(|scope| {
        let append = &append;
        let threads: Vec<_> = (0..u32::try_from(CROWD)?)
            .map(|number| scope.spawn(move || append(number)))
            .collect();
        wait_until("all appends wait", || waiting(&mut observer) == CROWD);
        holder.rollback()?;
        let outcomes = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        Ok(outcomes.collect())
    })
}

fn waiting(observer: &mut postgres::Client) -> usize {
    let sql = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let count: i64 = observer.query_one(sql, &[]).expect("an answer").get(0);
    usize::try_from(count).expect("a count")
}

/// The one that won, and what the others expected and met.
fn split(
    outcomes: Vec<Result<Appended>>,
) -> anyhow::Result<(Appended, Vec<(ExpectedVersion, u64)>)> {
    let (mut won, mut refused) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(appended) => won.push(appended),
            Err(Error::Conflict {
                expected, actual, ..
            }) => refused.push((expected, actual)),
            Err(other) => return Err(other.into()),
        }
    }
    assert_eq!(won.len(), 1, "{won:?}");
    Ok((won.remove(0), refused))
}

/// The stream has the event of every append, each at the place that its append was told.
fn assert_every_append_is_stored(
    store: &EventStore,
    appended: &[Appended],
    before: u64,
) -> anyhow::Result<()> {
    let read = store.read_stream::<CartEvent>("Cart-1")?;
    assert_eq!(read.current_version, before + appended.len() as u64);
    for (number, appended) in (0..).zip(appended) {
        let index = usize::try_from(appended.next_expected_version - 1)?;
        assert_eq!(read.events[index].event, added("hat", number));
        assert_eq!(
            vec![read.events[index].global_position],
            appended.global_positions
        );
    }
    let positions = read.events.iter().map(|recorded| recorded.global_position);
    assert!(positions.is_sorted());
    Ok(())
}

#[test]
fn a_single_statement_that_ends_a_deadlock_is_repeated() -> anyhow::Result<()> {
    let (database, store) = store()?;
    for stream in ["Cart-1", "Cart-2"] {
        store.append_to_stream(stream, &[added("hat", 1)])?;
    }
    let lock =
        |stream: &str| format!("SELECT FROM emt_streams WHERE stream_id = '{stream}' FOR UPDATE");
    let (mut other, mut observer) = (database.client()?, database.client()?);
    // The append looks for a deadlock, and finds it, long before.
    other.batch_execute("BEGIN; SET LOCAL deadlock_timeout = '1h'")?;
    other.batch_execute(&lock("Cart-2"))?;

    let appended = std::thread::scope(|scope| -> anyhow::Result<_> {
        let appending = scope.spawn(|| {
            store.append_to_streams(vec![
                StreamMessages::new("Cart-1", &[added("hat", 1)])?,
                StreamMessages::new("Cart-2", &[added("hat", 1)])?,
            ])
        });
        wait_until("the append waits", || {
            let waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            observer
                .query(waiting, &[])
                .is_ok_and(|rows| !rows.is_empty())
        });
        other.batch_execute(&lock("Cart-1"))?;
        other.batch_execute("COMMIT")?;
        Ok(appending.join().expect("no panic"))
    })??;

    let versions = appended.iter().map(|one| one.next_expected_version);
    assert!(versions.eq([2, 2]));
    Ok(())
}

//! Connections that the server ends, at every moment.

use crate::support::{CartEvent, added, database, quiet, wait_until};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{Error, EventStore, NewMessage, database::DatabaseError};
use postgres::Client;

/// Ends connections like an administrator, and waits until they are gone.
struct Killer(Client);

const OTHERS: &str = "FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";

impl Killer {
    fn of(database: &Database) -> anyhow::Result<Self> {
        Ok(Self(database.client()?))
    }

    fn count(&mut self, also: &str) -> i64 {
        let sql = format!("SELECT count(*) {OTHERS} {also}");
        self.0.query_one(&sql, &[]).expect("an answer").get(0)
    }

    fn kill_all(&mut self) -> anyhow::Result<i64> {
        let sql = format!("SELECT count(pg_terminate_backend(pid)) {OTHERS}");
        let killed = self.0.query_one(&sql, &[])?.get(0);
        wait_until("the connections are gone", || self.count("") == 0);
        Ok(killed)
    }

    /// Ends the one connection that waits for a lock. What waited may be repeated and wait again.
    fn kill_waiting(&mut self) -> anyhow::Result<()> {
        wait_until("somebody waits", || self.count(WAITING) == 1);
        let sql = format!("SELECT pid, pg_terminate_backend(pid) {OTHERS} {WAITING}");
        let pid: i32 = self.0.query_one(&sql, &[])?.get(0);
        let same = format!("AND pid = {pid}");
        wait_until("it is gone", || self.count(&same) == 0);
        Ok(())
    }
}

const WAITING: &str = "AND wait_event_type = 'Lock'";

fn with_id(id: &str) -> NewMessage<CartEvent> {
    NewMessage::new(added("hat", 1)).message_id(id)
}

fn count(store: &EventStore, stream: &str) -> Result<usize, Error> {
    Ok(store.read_stream::<CartEvent>(stream)?.events.len())
}

/// Has connections rest in the pool: used within the last second, and so not asked before they are used again.
fn rest(store: &EventStore, connections: usize) -> Result<(), Error> {
    let sessions = (0..connections)
        .map(|_| store.begin())
        .collect::<Result<Vec<_>, _>>()?;
    drop(sessions);
    Ok(())
}

#[test]
fn connections_that_were_killed_while_resting_are_replaced_unnoticed() -> anyhow::Result<()> {
    let database = database();
    let store = quiet(database.url()).open()?;
    let mut killer = Killer::of(&database)?;

    for round in 1..=3 {
        let mut kill = || -> anyhow::Result<()> {
            rest(&store, 4)?;
            assert_eq!(killer.kill_all()?, 4);
            Ok(())
        };
        kill()?;
        let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        kill()?;
        store
            .with_session(|session| Ok(session.append_to_stream("Cart-2", &[added("hat", 1)])?))?;
        kill()?;
        let read = store.read_stream::<CartEvent>("Cart-1")?;

        assert_eq!(
            (appended.next_expected_version, read.current_version),
            (round, round)
        );
        assert_eq!(count(&store, "Cart-2")? as u64, round);
    }
    Ok(())
}

#[test]
fn an_append_that_is_killed_while_it_waits_for_the_stream_is_not_half_there() -> anyhow::Result<()>
{
    for own_ids in [true, false] {
        let database = database();
        let store = quiet(database.url()).open()?;
        store.append_to_stream("Cart-1", &[added("socks", 1)])?;
        let mut holder = database.client()?;
        let mut held = holder.transaction()?;
        held.batch_execute("SELECT FROM emt_streams FOR UPDATE")?;
        let mut killer = Killer::of(&database)?;

        let outcome = std::thread::scope(|scope| -> anyhow::Result<_> {
            let appending = scope.spawn(|| {
                if own_ids {
                    store.append_to_stream("Cart-1", &[with_id("a"), with_id("b")])
                } else {
                    store.append_to_stream("Cart-1", &[added("a", 1), added("b", 1)])
                }
            });
            killer.kill_waiting()?;
            held.rollback()?;
            Ok(appending.join().expect("no panic"))
        })?;

        match outcome {
            Ok(appended) => assert_eq!(
                (appended.next_expected_version, count(&store, "Cart-1")?),
                (3, 3)
            ),
            Err(Error::Database(DatabaseError::UnknownOutcome { .. })) if !own_ids => {
                assert_eq!(count(&store, "Cart-1")?, 1);
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(())
}

#[test]
fn a_session_that_is_killed_between_two_appends_stores_neither_and_may_be_repeated()
-> anyhow::Result<()> {
    let database = database();
    let store = quiet(database.url()).open()?;
    let mut killer = Killer::of(&database)?;
    let mut transfer = |interrupt: bool| {
        store.with_session(|session| {
            session.append_to_stream("Cart-1", &[added("hat", 1)])?;
            if interrupt {
                killer.kill_all()?;
            }
            session.append_to_stream("Cart-2", &[added("hat", 1)])?;
            Ok(())
        })
    };

    let error = transfer(true).expect_err("the connection is gone");

    assert!(error.is_retryable() && !error.is_conflict(), "{error:?}");
    assert_eq!((count(&store, "Cart-1")?, count(&store, "Cart-2")?), (0, 0));
    transfer(false)?;
    assert_eq!((count(&store, "Cart-1")?, count(&store, "Cart-2")?), (1, 1));
    Ok(())
}

#[test]
fn a_session_that_goes_on_over_a_lost_connection_is_not_committed_and_says_so() -> anyhow::Result<()>
{
    let database = database();
    let store = quiet(database.url()).open()?;
    let mut killer = Killer::of(&database)?;
    let mut session = store.begin()?;
    session.append_to_stream("Cart-1", &[added("hat", 1)])?;
    killer.kill_all()?;

    let lost = session.append_to_stream("Cart-2", &[added("hat", 1)]);
    let error = session.commit().expect_err("there is nothing to commit");

    assert!(lost.is_err());
    assert!(
        error.is_retryable(),
        "no COMMIT was sent, so the outcome is known: {error:?}"
    );
    assert_eq!((count(&store, "Cart-1")?, count(&store, "Cart-2")?), (0, 0));
    Ok(())
}

#[test]
fn a_session_that_is_killed_before_its_commit_stores_nothing() -> anyhow::Result<()> {
    let database = database();
    let store = quiet(database.url()).open()?;
    let mut killer = Killer::of(&database)?;
    let mut committed = store.begin()?;
    committed.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let mut rolled_back = store.begin()?;
    rolled_back.append_to_stream("Cart-2", &[added("hat", 1)])?;
    let mut dropped = store.begin()?;
    dropped.append_to_stream("Cart-3", &[added("hat", 1)])?;
    killer.kill_all()?;

    let outcomes = [committed.commit(), rolled_back.rollback()];
    drop(dropped);

    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    for stream in ["Cart-1", "Cart-2", "Cart-3"] {
        assert_eq!(count(&store, stream)?, 0);
        store.append_to_stream(stream, &[added("hat", 1)])?;
    }
    Ok(())
}

#[test]
fn a_read_that_is_killed_while_it_waits_is_repeated() -> anyhow::Result<()> {
    let database = database();
    let store = quiet(database.url()).open()?;
    store.append_to_stream("Cart-1", &[added("socks", 1)])?;
    let mut holder = database.client()?;
    let mut held = holder.transaction()?;
    held.batch_execute("LOCK TABLE emt_messages IN ACCESS EXCLUSIVE MODE")?;
    let mut killer = Killer::of(&database)?;

    let read = std::thread::scope(|scope| -> anyhow::Result<_> {
        let reading = scope.spawn(|| store.read_stream::<CartEvent>("Cart-1"));
        killer.kill_waiting()?;
        held.rollback()?;
        Ok(reading.join().expect("no panic"))
    })?;

    assert_eq!(read?.events.len(), 1);
    Ok(())
}

//! Notifications of a process about its appends, received on a listening connection.

use crate::support::{added, database, wait_until};
use anyhow::Context;
use emmett_postgresql::testing::Database;
use emmett_postgresql::{EventStore, EventStoreBuilder};
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, NoTls};
use r2d2_postgres::PostgresConnectionManager;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const DEFAULT: &str = "emt:default";

/// A connection that hears the notifications of the store in a schema.
struct Ear(Client);

impl Ear {
    fn of(database: &Database, schema: &str) -> anyhow::Result<Self> {
        let mut client = database.client()?;
        let channel = channel(schema, &mut client)?;
        client.batch_execute(&format!("LISTEN {channel}"))?;
        Ok(Self(client))
    }

    /// Waits for a notification, and returns which partition it names.
    fn next(&mut self) -> anyhow::Result<String> {
        let mut notifications = self.0.notifications();
        let mut notifications = notifications.timeout_iter(Duration::from_secs(30));
        let notification = notifications.next()?.context("no notification came")?;
        Ok(notification.payload().to_owned())
    }

    /// What was notified up to now and not heard yet.
    fn rest(&mut self) -> anyhow::Result<Vec<String>> {
        // The server sends what was committed before it answers.
        self.0.batch_execute("")?;
        let rest = self.0.notifications().iter().collect::<Vec<_>>()?;
        let rest = rest.into_iter().map(|one| one.payload().to_owned());
        Ok(rest.collect())
    }
}

fn channel(schema: &str, client: &mut Client) -> anyhow::Result<String> {
    let sql = "SELECT 'emt_' || left(encode(sha256(convert_to($1, 'UTF8')), 'hex'), 16)";
    Ok(client.query_one(sql, &[&schema])?.get(0))
}

fn add_consumer(database: &Database, schema: &str, partition: &str) -> anyhow::Result<()> {
    let sql = format!(
        "INSERT INTO {schema}.emt_processor_slots
             (partition, processor, version, slot, position, owner, worker, expires_at)
         VALUES ($1, 'carts', 1, 0, 0, 'somebody', 0, clock_timestamp() + INTERVAL '1 hour')"
    );
    database.client()?.execute(&sql, &[&partition])?;
    Ok(())
}

#[test]
fn an_append_is_notified_with_its_partition() -> anyhow::Result<()> {
    let database = database();
    let mut ear = Ear::of(&database, "public")?;
    let store = EventStore::open(database.url())?;
    store.tenants().add("acme")?;
    add_consumer(&database, "public", DEFAULT)?;
    add_consumer(&database, "public", "acme")?;

    for _ in 0..3 {
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        assert_eq!(ear.next()?, DEFAULT);
        let acme = store.tenant("acme")?;
        acme.append_to_stream("Cart-1", &[added("hat", 1)])?;
        assert_eq!(ear.next()?, "acme");
    }

    drop(store);
    assert_eq!(ear.rest()?, [""; 0]);
    Ok(())
}

#[test]
fn nothing_is_notified_that_was_not_committed() -> anyhow::Result<()> {
    let database = database();
    let mut ear = Ear::of(&database, "public")?;
    let store = EventStore::open(database.url())?;
    add_consumer(&database, "public", DEFAULT)?;

    let mut session = store.begin()?;
    session.append_to_stream("Cart-1", &[added("hat", 1)])?;
    session.rollback()?;
    drop(store);

    assert_eq!(ear.rest()?, [""; 0]);
    Ok(())
}

#[test]
fn a_session_that_outlives_its_store_is_notified() -> anyhow::Result<()> {
    let database = database();
    let mut ear = Ear::of(&database, "public")?;
    let store = EventStore::open(database.url())?;
    add_consumer(&database, "public", DEFAULT)?;

    let mut session = store.begin()?;
    drop(store);
    session.append_to_stream("Cart-1", &[added("hat", 1)])?;
    session.commit()?;

    assert_eq!(ear.rest()?, [DEFAULT]);
    Ok(())
}

#[test]
fn without_a_consumer_nothing_is_notified() -> anyhow::Result<()> {
    let database = database();
    let mut ear = Ear::of(&database, "public")?;
    let store = EventStore::open(database.url())?;
    store.tenants().add("acme")?;
    // One of another tenant, and one that has died.
    add_consumer(&database, "public", "acme")?;
    add_consumer(&database, "public", DEFAULT)?;
    let dies = "UPDATE emt_processor_slots SET expires_at = clock_timestamp() WHERE partition = $1";
    database.client()?.execute(dies, &[&DEFAULT])?;

    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    drop(store);

    assert_eq!(ear.rest()?, [""; 0]);
    Ok(())
}

#[test]
fn a_store_without_notifications_sends_none() -> anyhow::Result<()> {
    let database = database();
    let mut ear = Ear::of(&database, "public")?;
    let store = EventStore::builder(database.url())
        .notifications(false)
        .open()?;
    add_consumer(&database, "public", DEFAULT)?;

    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    drop(store);

    assert_eq!(ear.rest()?, [""; 0]);
    Ok(())
}

#[test]
fn a_store_on_a_pool_of_the_callers_notifies() -> anyhow::Result<()> {
    let database = database();
    let mut ear = Ear::of(&database, "public")?;
    let manager = PostgresConnectionManager::new(database.url().parse()?, NoTls);
    let pool = r2d2::Pool::builder().max_size(1).build(manager)?;
    let store = EventStoreBuilder::with_pool(pool).open()?;
    add_consumer(&database, "public", DEFAULT)?;

    for _ in 0..3 {
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        assert_eq!(ear.next()?, DEFAULT);
    }
    Ok(())
}

#[test]
fn two_schemas_do_not_hear_each_other() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::open(database.url())?;
    let other = EventStore::builder(database.url()).schema("other").open()?;
    let mut ear = Ear::of(&database, "public")?;
    let mut others = Ear::of(&database, "other")?;
    add_consumer(&database, "public", DEFAULT)?;
    add_consumer(&database, "other", DEFAULT)?;

    other.append_to_stream("Cart-1", &[added("hat", 1)])?;
    drop(other);
    assert_eq!(ear.rest()?, [""; 0]);
    assert_eq!(others.rest()?, [DEFAULT]);

    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    drop(store);
    assert_eq!(ear.rest()?, [DEFAULT]);
    assert_eq!(others.rest()?, [""; 0]);
    Ok(())
}

#[test]
fn appends_do_not_wait_for_notifications_which_are_sent_together_and_before_the_store_is_gone()
-> anyhow::Result<()> {
    let database = database();
    let mut ear = Ear::of(&database, "public")?;
    let store = EventStore::open(database.url())?;
    add_consumer(&database, "public", DEFAULT)?;
    let (mut blocker, mut watcher) = (database.client()?, database.client()?);
    let mut block = blocker.transaction()?;
    block.batch_execute("LOCK TABLE emt_processor_slots")?;

    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    wait_until("the first notification is about to be sent", || {
        let sql = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        watcher.query(sql, &[]).expect("an answer").len() == 1
    });
    for _ in 0..100 {
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    }
    assert_eq!(ear.rest()?, [""; 0]);
    block.commit()?;
    drop(store);

    assert_eq!(ear.rest()?, [DEFAULT, DEFAULT]);
    Ok(())
}

#[test]
fn a_program_that_ends_after_its_append_has_notified() -> anyhow::Result<()> {
    let database = database();
    let mut ear = Ear::of(&database, "public")?;
    add_consumer(&database, "public", DEFAULT)?;

    let mut emmett = Command::new(env!("CARGO_BIN_EXE_emmett"))
        .args(["import", "-", "--connection-string", database.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut log = emmett.stdin.take().context("its standard input")?;
    log.write_all(br#"{"streamName": "Cart-1", "type": "Happened", "data": {}}"#)?;
    drop(log);

    assert!(emmett.wait()?.success());
    assert_eq!(ear.rest()?, [DEFAULT]);
    Ok(())
}

#[test]
fn a_lost_connection_is_replaced() -> anyhow::Result<()> {
    let database = database();
    let mut ear = Ear::of(&database, "public")?;
    let store = EventStore::open(database.url())?;
    add_consumer(&database, "public", DEFAULT)?;
    let mut client = database.client()?;
    let notifying =
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
                     AND query LIKE '%pg_notify%'";

    for _ in 0..3 {
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        assert_eq!(ear.next()?, DEFAULT);
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        assert_eq!(ear.next()?, DEFAULT);
        let kill = format!("SELECT pg_terminate_backend(pid) {notifying}");
        assert_ne!(client.query(&kill, &[])?.len(), 0);
        wait_until("they are gone", || {
            let rest = client.query(&format!("SELECT {notifying}"), &[]);
            rest.expect("an answer").is_empty()
        });
    }
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    assert_eq!(ear.next()?, DEFAULT);
    Ok(())
}

//! The store's own pool, and pools of the caller.

use super::proxy::{Loss, Proxy};
use crate::support::{CartEvent, added, database, quiet, store};
use emmett_postgresql::{
    AppendOptions, ConnectionOptions, DocumentProjection, Error, EventStore, EventStoreBuilder,
    FeedOptions, Recorded, StreamMessages, database::DatabaseError,
};
use postgres::{Client, NoTls};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
fn a_pool_without_a_free_connection_says_so_after_its_timeout() -> anyhow::Result<()> {
    let database = database();
    let timeout = Duration::from_secs(1);
    let store = EventStore::builder(database.url())
        .connection_options(
            ConnectionOptions::new()
                .pool_size(2)
                .connection_timeout(timeout),
        )
        .open()?;
    let (first, _second) = (store.begin()?, store.begin()?);
    let asked = Instant::now();

    let error = store
        .append_to_stream("Cart-1", &[added("hat", 1)])
        .expect_err("none is free");

    assert!(
        matches!(error, Error::Database(DatabaseError::Pool { .. })),
        "{error:?}"
    );
    assert!(error.is_retryable() && !error.is_conflict());
    assert!(asked.elapsed() >= timeout && asked.elapsed() < Duration::from_secs(20));
    drop(first);
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    Ok(())
}

#[test]
fn an_operation_waits_for_a_connection_that_becomes_free() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .open()?;

    std::thread::scope(|scope| -> anyhow::Result<()> {
        let threads: Vec<_> = (0..16)
            .map(|number| {
                let store = &store;
                scope.spawn(move || {
                    store.with_session(|session| {
                        session.append_to_stream("Cart-1", &[added("hat", number)])?;
                        Ok(session.append_to_stream("Cart-1", &[added("hat", number)])?)
                    })
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic")?;
        }
        Ok(())
    })?;

    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.events.len(), 32);
    Ok(())
}

#[test]
fn options_of_the_pool_that_make_no_sense_are_refused() {
    let database = database();
    let options = ConnectionOptions::new;

    for (what, wrong) in [
        ("the pool size", options().pool_size(0)),
        ("the idle timeout", options().idle_timeout(Duration::ZERO)),
        (
            "the connection timeout",
            options().connection_timeout(Duration::ZERO),
        ),
        (
            "the connection timeout",
            options().connection_timeout(Duration::MAX),
        ),
    ] {
        let builder = EventStore::builder(database.url());
        let refused = builder.connection_options(wrong).open();
        assert!(
            matches!(&refused, Err(Error::InvalidInput { what: named, .. }) if named == what),
            "{refused:?}"
        );
    }
}

#[test]
fn a_store_opens_connections_only_when_it_needs_them() -> anyhow::Result<()> {
    let database = database();
    let proxy = Proxy::to(&database)?;
    let store = quiet(proxy.url())
        .connection_options(ConnectionOptions::new().pool_size(20))
        .open()?;
    let opened = proxy.connections();

    for _ in 0..20 {
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    }

    assert!(opened <= 2, "one to try, one to keep: {opened}");
    assert_eq!(proxy.connections(), opened);
    Ok(())
}

fn counts() -> DocumentProjection<Value> {
    DocumentProjection::single_stream("counts", |count: Option<Value>, _: &Recorded<CartEvent>| {
        let count = count.and_then(|count| count["n"].as_u64()).unwrap_or(0);
        Some(json!({"n": count + 1}))
    })
}

/// Uses what a store has, on whatever connections.
fn use_everything(store: &EventStore) -> anyhow::Result<()> {
    store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;
    let conflict = store.append_to_stream_with(
        "Cart-1",
        &[added("hat", 3)],
        AppendOptions::new().expected_version(7),
    );
    assert!(
        matches!(conflict, Err(Error::Conflict { actual: 2, .. })),
        "{conflict:?}"
    );
    store.append_to_streams(vec![
        StreamMessages::new("Cart-1", &[added("hat", 3)])?,
        StreamMessages::new("Cart-2", &[added("hat", 1)])?,
    ])?;
    let failed = store.with_session(|session| -> anyhow::Result<()> {
        session.append_to_stream("Cart-1", &[added("hat", 4)])?;
        session.query("SELECT $1::TEXT", &[&"typed by the server"])?;
        anyhow::bail!("no")
    });
    assert!(matches!(failed, Err(Error::Session { .. })), "{failed:?}");
    let swallowed = store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("hat", 4)])?;
        assert!(session.execute("SELECT 1 / 0", &[]).is_err());
        Ok(())
    });
    assert!(
        matches!(
            swallowed,
            Err(Error::Database(DatabaseError::TransactionAborted { .. }))
        ),
        "{swallowed:?}"
    );
    store.with_session(|session| Ok(session.append_to_stream("Cart-2", &[added("hat", 2)])?))?;

    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.events.len(), 3);
    assert_eq!(store.read_all::<CartEvent>(FeedOptions::new()).count(), 5);
    let count = store
        .collection::<Value>("counts")
        .find_one(json!({"_id": "Cart-1"}))?;
    assert_eq!(count.map(|count| count["n"].clone()), Some(json!(3)));
    Ok(())
}

#[test]
fn a_store_works_on_a_pool_of_r2d2_postgres() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let manager = r2d2_postgres::PostgresConnectionManager::new(database.url().parse()?, NoTls);
    let pool = r2d2::Pool::builder().max_size(2).build(manager)?;

    let store = EventStoreBuilder::with_pool(pool.clone())
        .inline_projection(counts())
        .notifications(false)
        .open()?;
    use_everything(&store)?;

    assert_eq!(pool.state().idle_connections, pool.state().connections);
    pool.get()?.batch_execute("SELECT FROM emt_streams")?;
    Ok(())
}

/// A manager of the caller's own.
struct OwnManager {
    config: postgres::Config,
}

impl r2d2::ManageConnection for OwnManager {
    type Connection = Client;
    type Error = postgres::Error;

    fn connect(&self) -> Result<Client, postgres::Error> {
        self.config.connect(NoTls)
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), postgres::Error> {
        client.simple_query("").map(|_| ())
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}

#[test]
fn a_store_works_on_any_pool_of_clients() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let manager = OwnManager {
        config: database.url().parse()?,
    };
    let pool = r2d2::Pool::builder().max_size(1).build(manager)?;

    let store = EventStoreBuilder::with_pool(pool)
        .inline_projection(counts())
        .open()?;

    use_everything(&store)
}

#[test]
fn a_pool_of_the_callers_that_is_exhausted_is_an_error_of_the_pool() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let pool = r2d2::Pool::builder()
        .max_size(1)
        .connection_timeout(Duration::from_secs(1))
        .build(OwnManager {
            config: database.url().parse()?,
        })?;
    let store = EventStoreBuilder::with_pool(pool.clone()).open()?;
    let _taken = pool.get()?;

    let error = store
        .append_to_stream("Cart-1", &[added("hat", 1)])
        .expect_err("none is free");

    assert!(
        matches!(error, Error::Database(DatabaseError::Pool { .. })),
        "{error:?}"
    );
    Ok(())
}

#[test]
fn without_prepared_statements_none_is_kept_and_an_append_is_still_one_round_trip()
-> anyhow::Result<()> {
    let database = database();
    let proxy = Proxy::to(&database)?;
    let plain = quiet(proxy.url())
        .connection_options(ConnectionOptions::new().prepared_statements(false))
        .open()?;
    let projecting = quiet(proxy.url())
        .connection_options(ConnectionOptions::new().prepared_statements(false))
        .inline_projection(counts())
        .open()?;

    // First: what the other store appends is followed.
    let (projected, projecting_turns) =
        proxy.watch(|| projecting.append_to_stream("Cart-4", &[added("hat", 1)]));
    let (appended, turns) = proxy.watch(|| plain.append_to_stream("Cart-3", &[added("hat", 1)]));
    let (read, reading) = proxy.watch(|| plain.read_stream::<CartEvent>("Cart-3"));
    let kept = proxy.prepared();

    assert_eq!(
        appended?.next_expected_version,
        projected?.next_expected_version
    );
    assert_eq!(read?.events.len(), 1);
    assert_eq!(
        (turns.len(), reading.len(), projecting_turns.len()),
        (1, 1, 5),
        "{turns:?} {reading:?} {projecting_turns:?}"
    );
    assert_eq!(kept, []);
    Ok(())
}

#[test]
fn without_prepared_statements_everything_works() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().prepared_statements(false))
        .inline_projection(counts())
        .open()?;

    use_everything(&store)
}

#[test]
fn a_pool_that_gets_no_connection_says_what_the_pooler_says() -> anyhow::Result<()> {
    let database = database();
    EventStore::open(database.url())?;
    let proxy = Proxy::to(&database)?;
    proxy.always_lose(Loss::Pooler("08P01"), "");

    let options = ConnectionOptions::new().connection_timeout(Duration::from_secs(2));
    let store = EventStore::builder(proxy.url())
        .connection_options(options)
        .open();

    let text = format!("{:#}", anyhow::Error::from(store.expect_err("no server")));
    assert!(text.contains("server conn crashed?"), "{text}");
    Ok(())
}

//! A store shared by threads, and used inside an async runtime, which it must not block.

use crate::support::{CartEvent, added, database, store};
use emmett_postgresql::{
    ConnectionOptions, Error, EventStore, EventStoreBuilder, FeedOptions, RawEvent, ReadOptions,
    Session, database::DatabaseError,
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

#[test]
fn a_store_can_be_shared_between_threads_and_its_errors_sent() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    fn sent<T: Send + Sync + 'static>() {}
    fn moved<T: Send + 'static>() {}

    shared::<EventStore>();
    sent::<Error>();
    sent::<emmett_postgresql::Result<()>>();
    moved::<Session<'static>>();
}

#[test]
fn a_session_may_begin_on_one_thread_and_end_on_another() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let mut session = store.begin()?;
    std::thread::scope(|scope| {
        let appending = scope.spawn(|| session.append_to_stream("Cart-1", &[added("hat", 1)]));
        appending.join().expect("no panic")
    })?;
    std::thread::scope(|scope| scope.spawn(|| session.commit()).join().expect("no panic"))?;

    assert!(store.stream_exists("Cart-1")?);
    Ok(())
}

fn runtimes() -> std::io::Result<[Runtime; 2]> {
    let several_threads = Builder::new_multi_thread().worker_threads(1).build()?;
    Ok([several_threads, Builder::new_current_thread().build()?])
}

/// One of each operation; all must fail in the same way.
fn use_everything(store: &EventStore) -> Vec<Option<Error>> {
    let documents = store.collection::<Value>("notes");
    vec![
        store.append_to_stream("Cart-1", &[added("hat", 1)]).err(),
        store.read_stream::<CartEvent>("Cart-1").err(),
        store.stream_exists("Cart-1").err(),
        store
            .aggregate_stream("Cart-1", || (), |(), _: RawEvent| ())
            .err(),
        store
            .read_stream_iter::<RawEvent>("Cart-1", ReadOptions::new())
            .find_map(Result::err),
        store
            .read_all::<RawEvent>(FeedOptions::new())
            .find_map(Result::err),
        store.begin().err(),
        store.with_session(|_| Ok(())).err(),
        store.schema().state().err().map(Error::from),
        store.tenants().add("acme").err(),
        documents.insert_one(&json!({})).err().map(Error::from),
        documents.find_one(json!({})).err().map(Error::from),
    ]
}

#[test]
fn inside_an_async_task_every_operation_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for runtime in runtimes()? {
        let (in_root, in_task) = runtime.block_on(async {
            let in_root = use_everything(&store);
            let shared = store.clone();
            let in_task = tokio::spawn(async move { use_everything(&shared) }).await;
            (in_root, in_task)
        });

        for outcome in in_root.into_iter().chain(in_task?) {
            assert!(
                matches!(outcome, Some(Error::Database(DatabaseError::AsyncContext))),
                "{outcome:?}"
            );
        }
    }
    assert!(!store.stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn inside_an_async_task_a_session_that_was_begun_elsewhere_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for runtime in runtimes()? {
        let (mut session, other) = (store.begin()?, store.begin()?);
        session.append_to_stream("Cart-1", &[added("hat", 1)])?;

        let outcomes = runtime.block_on(async move {
            vec![
                session.append_to_stream("Cart-1", &[added("hat", 1)]).err(),
                session.read_stream::<CartEvent>("Cart-1").err(),
                session.execute("SELECT 1", &[]).err().map(Error::from),
                session.nested(|_| Ok(())).err(),
                session.commit().err(),
                other.rollback().err(),
            ]
        });

        for outcome in outcomes {
            assert!(
                matches!(outcome, Some(Error::Database(DatabaseError::AsyncContext))),
                "{outcome:?}"
            );
        }
        assert!(!store.stream_exists("Cart-1")?);
    }
    Ok(())
}

#[test]
fn a_store_cannot_be_opened_inside_an_async_task() -> anyhow::Result<()> {
    let database = database();
    let pool = r2d2::Pool::builder().build_unchecked(
        r2d2_postgres::PostgresConnectionManager::new(database.url().parse()?, postgres::NoTls),
    );
    for runtime in runtimes()? {
        let (own, foreign) = runtime.block_on(async {
            let own = EventStore::open(database.url());
            (own, EventStoreBuilder::with_pool(pool.clone()).open())
        });

        assert!(
            matches!(own, Err(Error::Database(DatabaseError::AsyncContext))),
            "{own:?}"
        );
        assert!(
            matches!(foreign, Err(Error::Database(DatabaseError::AsyncContext))),
            "{foreign:?}"
        );
    }
    Ok(())
}

#[test]
fn a_blocking_thread_of_a_runtime_may_use_the_store() -> anyhow::Result<()> {
    let (database, _) = store()?;
    for runtime in runtimes()? {
        let url = database.url().to_owned();
        let version = runtime.block_on(async {
            tokio::task::spawn_blocking(move || -> Result<u64, Error> {
                let store = EventStore::open(&url)?;
                store.append_to_stream("Cart-1", &[added("hat", 1)])?;
                store.with_session(|session| {
                    Ok(session.append_to_stream("Cart-1", &[added("hat", 1)])?)
                })?;
                Ok(store.read_stream::<CartEvent>("Cart-1")?.current_version)
            })
            .await
        })??;

        assert_eq!(version % 2, 0);
    }
    Ok(())
}

#[test]
fn a_session_that_fails_on_a_blocking_thread_keeps_its_connection() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .open()?;
    let backend = |store: &EventStore| {
        store.with_session(|session| {
            let rows = session.query("SELECT pg_backend_pid()", &[])?;
            Ok(rows[0].try_get::<_, i32>(0)?)
        })
    };
    let before = backend(&store)?;

    for runtime in runtimes()? {
        let shared = store.clone();
        let fail = move || shared.with_session(|_| -> anyhow::Result<()> { anyhow::bail!("no") });
        let outcome = runtime.block_on(async { tokio::task::spawn_blocking(fail).await })?;
        assert!(matches!(outcome, Err(Error::Session { .. })));
    }

    assert_eq!(backend(&store)?, before);
    Ok(())
}

#[test]
fn dropping_a_store_inside_an_async_task_closes_its_connections() -> anyhow::Result<()> {
    for runtime in runtimes()? {
        let (database, store) = store()?;
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        let mut observer = database.client()?;

        runtime.block_on(async move { drop(store) });

        let mut others = || -> i64 {
            let sql = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
            observer.query_one(sql, &[]).expect("an answer").get(0)
        };
        crate::support::wait_until("all connections are closed", || others() == 0);
    }
    Ok(())
}

#[test]
fn a_session_that_is_dropped_inside_an_async_task_is_rolled_back() -> anyhow::Result<()> {
    for runtime in runtimes()? {
        let (database, store) = store()?;
        let mut session = store.begin()?;
        session.append_to_stream("Cart-1", &[added("hat", 1)])?;

        runtime.block_on(async move { drop(session) });

        let mut observer = database.client()?;
        let mut open = || -> i64 {
            let sql = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND state = 'idle in transaction'";
            observer.query_one(sql, &[]).expect("an answer").get(0)
        };
        crate::support::wait_until("the session is rolled back", || open() == 0);
        assert!(!store.stream_exists("Cart-1")?);
    }
    Ok(())
}

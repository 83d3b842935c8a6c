//! Settings of roles and databases, and encodings.

use crate::consumer::fixtures::counts;
use crate::support::{CartEvent, added, database};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    Error, EventStore, EventStoreBuilder, FeedOptions, Reactor, Recorded, Result,
};
use postgres::{Client, NoTls};
use r2d2_postgres::PostgresConnectionManager;
use serde_json::{Value, json};

const LEVELS: [&str; 2] = ["repeatable read", "serializable"];

/// A database whose sessions begin with these settings.
fn set(database: &Database, settings: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut client = database.client()?;
    for (name, value) in settings {
        let name_of = database.name();
        client.batch_execute(&format!(
            "ALTER DATABASE \"{name_of}\" SET {name} = '{value}'"
        ))?;
    }
    Ok(())
}

fn callers_pool(database: &Database) -> anyhow::Result<EventStoreBuilder> {
    let manager = PostgresConnectionManager::new(database.url().parse()?, NoTls);
    Ok(EventStoreBuilder::with_pool(
        r2d2::Pool::builder().max_size(8).build(manager)?,
    ))
}

/// Appends from six threads to one stream, then everything that reads.
fn use_all_day(store: &EventStore) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    (0..20).try_for_each(|_| {
                        store
                            .append_to_stream("Cart-1", &[added("hat", 1)])
                            .map(drop)
                    })
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    let feed = store.read_all::<CartEvent>(FeedOptions::new());
    assert_eq!(feed.collect::<Result<Vec<_>>>()?.len(), 120);
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.events.len(), 120);
    let reactor = Reactor::new("mails").each(|_: &Recorded<CartEvent>, _| Ok(()));
    let job = store
        .consumer()
        .reactor(reactor)
        .projector(counts("counts"));
    assert_eq!(job.run_until_caught_up()?.handled(), 240);
    let notes = store.collection::<Value>("notes");
    notes.insert_one(&json!({ "_id": "a", "text": "b" }))?;
    store.rebuild_with(counts("counts")).run()?;
    Ok(())
}

#[test]
fn a_strict_isolation_level_of_the_role_disturbs_no_connection_of_the_stores_own()
-> anyhow::Result<()> {
    for level in LEVELS {
        let database = database();
        set(&database, &[("default_transaction_isolation", level)])?;
        let store = EventStore::open(database.url())?;

        use_all_day(&store)?;

        assert!(store.doctor()?.findings.is_empty());
        let own =
            store.with_session(|session| Ok(session.query("SHOW transaction_isolation", &[])?))?;
        assert_eq!(own[0].get::<_, String>(0), "read committed");
    }
    Ok(())
}

#[test]
fn a_strict_isolation_level_disturbs_no_pool_of_the_callers_and_is_left_as_it_is()
-> anyhow::Result<()> {
    for level in LEVELS {
        let database = database();
        set(&database, &[("default_transaction_isolation", level)])?;
        let manager = PostgresConnectionManager::new(database.url().parse()?, NoTls);
        let pool = r2d2::Pool::builder().max_size(8).build(manager)?;
        let store = EventStoreBuilder::with_pool(pool.clone()).open()?;

        use_all_day(&store)?;

        for _ in 0..8 {
            let level_now: String = pool
                .get()?
                .query_one("SHOW transaction_isolation", &[])?
                .get(0);
            assert_eq!(level_now, level);
        }
    }
    Ok(())
}

#[test]
fn the_option_of_the_connection_string_is_kept_beside_the_isolation_level() -> anyhow::Result<()> {
    let database = database();
    set(
        &database,
        &[("default_transaction_isolation", "serializable")],
    )?;
    let options = "options='-c work_mem=5MB'";
    let separator = if database.url().contains("://") {
        "&"
    } else {
        " "
    };
    let url = if separator == "&" {
        format!("{}&options=-c%20work_mem%3D5MB", database.url())
    } else {
        format!("{} {options}", database.url())
    };
    let store = EventStore::open(&url)?;

    let shown = store.with_session(|session| {
        Ok(session.query(
            "SELECT current_setting('work_mem'), current_setting('default_transaction_isolation')",
            &[],
        )?)
    })?;

    assert_eq!(shown[0].get::<_, String>(0), "5MB");
    assert_eq!(shown[0].get::<_, String>(1), "read committed");
    Ok(())
}

#[test]
fn a_role_that_only_reads_by_default_reads() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::open(database.url())?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    set(
        &database,
        &[
            ("default_transaction_read_only", "on"),
            ("default_transaction_isolation", "serializable"),
        ],
    )?;

    for reader in [
        EventStore::open(database.url())?,
        callers_pool(&database)?.open()?,
    ] {
        assert_eq!(reader.read_stream::<CartEvent>("Cart-1")?.events.len(), 1);
        assert_eq!(reader.read_all::<CartEvent>(FeedOptions::new()).count(), 1);
        let refused = reader.append_to_stream("Cart-1", &[added("hat", 1)]);
        let text = format!(
            "{:#}",
            anyhow::Error::from(refused.expect_err("it only reads"))
        );
        assert!(text.contains("read-only transaction"), "{text}");
    }
    Ok(())
}

#[test]
fn a_default_tablespace_that_is_the_databases_own_is_no_hindrance() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    set(&database, &[("default_tablespace", "pg_default")])?;

    let store = EventStore::open(database.url())?;

    store.tenants().add("acme")?;
    store
        .tenant("acme")?
        .append_to_stream("Cart-1", &[added("hat", 1)])?;
    Ok(())
}

/// A database of an encoding, which goes with the server.
fn encoded(encoding: &str) -> anyhow::Result<String> {
    let server = Server::shared()?;
    let name = format!("encoded_{}_{}", encoding.to_lowercase(), std::process::id());
    Client::connect(&server.url("postgres"), NoTls)?.batch_execute(&format!(
        "CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    ))?;
    Ok(server.url(&name))
}

#[test]
fn a_database_that_is_not_utf_8_is_named_at_migration_and_names_work_or_are_refused()
-> anyhow::Result<()> {
    for (encoding, takes_umlauts) in [("SQL_ASCII", false), ("LATIN1", true)] {
        let store = EventStore::builder(&encoded(encoding)?).open_unchecked()?;

        let report = store.schema().migrate()?;

        let remark = format!("the encoding of the database is {encoding}");
        assert!(
            report.remarks.iter().any(|said| said.starts_with(&remark)),
            "{report:?}"
        );
        assert!(store.tenants().add("plain")?);
        store
            .tenant("plain")?
            .append_to_stream("Cart-Müller", &[added("hat", 1)])?;
        assert_eq!(
            store
                .tenant("plain")?
                .read_stream::<CartEvent>("Cart-Müller")?
                .events
                .len(),
            1
        );
        let added_tenant = store.tenants().add("t-Müller");
        if takes_umlauts {
            assert!(added_tenant?);
            store
                .tenant("t-Müller")?
                .append_to_stream("Cart-1", &[added("hat", 1)])?;
        } else {
            let text = added_tenant.expect_err("it would not be found").to_string();
            assert!(text.contains("must be ASCII"), "{text}");
            let unknown = store
                .tenant("t-Müller")?
                .append_to_stream("Cart-1", &[added("hat", 1)]);
            assert!(
                matches!(unknown, Err(Error::UnknownTenant { .. })),
                "{unknown:?}"
            );
        }
    }
    Ok(())
}

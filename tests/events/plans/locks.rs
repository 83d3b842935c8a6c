//! A statement locks the tables of its own tenant only: it takes as many locks with 500 tenants as with 2.

use crate::support::{CartEvent, added, database_with_tenants};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    AppendOptions, ConnectionOptions, DocumentProjection, Event, EventStore, FeedOptions,
    NewMessage, RawEvent, ReadOptions, Recorded, Session, StreamMessages,
};
use postgres::types::ToSql;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a transaction has locked: the relations, each as often as it is listed.
type Locks = Vec<String>;

const LOCKS: &str = "
    SELECT relation::REGCLASS::TEXT || ' ' || mode FROM pg_locks
     WHERE pid = pg_backend_pid() AND locktype = 'relation'
       AND relation NOT IN (SELECT oid FROM pg_class WHERE relnamespace = 'pg_catalog'::REGNAMESPACE)
     ORDER BY 1";

/// A store with one connection, so that every operation runs on it, with generic plans.
fn store(database: &Database) -> anyhow::Result<EventStore> {
    let separator = if database.url().contains('?') {
        '&'
    } else {
        '?'
    };
    let generic = "options=-c%20plan_cache_mode%3Dforce_generic_plan";
    let counts = DocumentProjection::single_stream(
        "counts",
        |count: Option<Value>, _: &Recorded<RawEvent>| {
            let before = count.and_then(|count| count["events"].as_u64());
            Some(json!({ "events": before.unwrap_or(0) + 1 }))
        },
    );
    let store = EventStore::builder(&format!("{}{separator}{generic}", database.url()))
        .inline_projection(counts)
        .connection_options(ConnectionOptions::new().pool_size(1))
        .open()?;
    Ok(store)
}

/// What each operation locks in a tenant, done a second time so that it meets streams and documents.
fn locks_by_operation(
    database: &Database,
    tenant: &str,
) -> anyhow::Result<BTreeMap<&'static str, Locks>> {
    let store = store(database)?.tenant(tenant)?;
    let mut held_by = BTreeMap::new();
    for (name, operation) in OPERATIONS {
        store.with_session(operation)?;
        let held = store.with_session(|session| {
            operation(session)?;
            locks(session)
        })?;
        held_by.insert(*name, held);
    }
    held_by.extend(locks_of_feed(&store, tenant)?);
    Ok(held_by)
}

fn locks(session: &mut Session<'_>) -> anyhow::Result<Locks> {
    let rows = session.query(LOCKS, &[])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

type Operation = fn(&mut Session<'_>) -> anyhow::Result<()>;

const OPERATIONS: &[(&str, Operation)] = &[
    ("append", |session| {
        session.append_to_stream("Cart-1", &[added("shoes", 1)])?;
        Ok(())
    }),
    ("append of several messages with ids", |session| {
        let messages = ["a", "b"].map(|id| NewMessage::new(added("shoes", 1)).message_id(id));
        session.append_to_stream("Cart-2", &messages)?;
        Ok(())
    }),
    ("refused append", |session| {
        let options = AppendOptions::new().expected_version(99);
        let refused = session.append_to_stream_with("Cart-1", &[added("shoes", 1)], options);
        anyhow::ensure!(refused.is_err_and(|error| error.is_conflict()));
        Ok(())
    }),
    ("append to several streams", |session| {
        let streams =
            ["Cart-1", "Cart-3"].map(|name| StreamMessages::new(name, &[added("hat", 1)]));
        session.append_to_streams(streams.into_iter().collect::<Result<_, _>>()?)?;
        Ok(())
    }),
    ("read", |session| {
        session.read_stream::<CartEvent>("Cart-1")?;
        Ok(())
    }),
    ("read backwards with the archive", |session| {
        let options = ReadOptions::new().backwards().include_archived();
        session.read_stream_with::<CartEvent>("Cart-1", options)?;
        Ok(())
    }),
    ("existence", |session| {
        session.stream_exists("Cart-1")?;
        Ok(())
    }),
];

/// The feed's statements, as they were sent, run again in a transaction.
fn locks_of_feed(store: &EventStore, tenant: &str) -> anyhow::Result<Vec<(&'static str, Locks)>> {
    store
        .read_all::<RawEvent>(FeedOptions::new())
        .for_each(drop);
    let types = CartEvent::known_types();
    let (after, up_to, limit, bytes) = (0_i64, 1_000_000_i64, 10_i64, 16_000_i64);
    let statements: [(_, _, &[&(dyn ToSql + Sync)]); 2] = [
        ("feed horizon", "emt_horizon", &[&tenant, &after]),
        (
            "feed page",
            "emt_feed_in_",
            &[
                &tenant,
                &after,
                &up_to,
                &true,
                &limit,
                &types,
                &None::<Vec<String>>,
                &bytes,
                &bytes,
            ],
        ),
    ];
    let find = "SELECT statement FROM pg_prepared_statements WHERE statement ~ $1";
    let locks_of = |(name, pattern, values): (_, &str, &[&(dyn ToSql + Sync)])| {
        let held = store.with_session(|session| {
            let sent: String = session.query(find, &[&pattern])?[0].get(0);
            let rows = session.query(&sent, values)?;
            anyhow::ensure!(!rows.is_empty(), "{name} gave nothing");
            locks(session)
        })?;
        Ok((name, held))
    };
    statements.into_iter().map(locks_of).collect()
}

#[test]
fn with_500_tenants_an_operation_locks_what_it_locks_with_2() -> anyhow::Result<()> {
    let (few, many) = (database_with_tenants(2)?, database_with_tenants(500)?);
    for tenant in ["emt:default", "tenant 2"] {
        let few = locks_by_operation(&few, tenant)?;
        let many = locks_by_operation(&many, tenant)?;

        assert_eq!(few, many);
        for (operation, locks) in many {
            assert!(!locks.is_empty(), "{operation}");
        }
    }
    Ok(())
}

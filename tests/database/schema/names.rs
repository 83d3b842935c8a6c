//! Schemas with any name, and several in one database.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, FeedOptions, RawEvent, Recorded,
    operations::{ExportOptions, ImportOptions},
};
use serde_json::{Value, json};

const ODD_NAMES: [&str; 5] = [
    "My Schéma-1",
    "a;b--c/*d*/",
    "{streams}.{schema}",
    "public store 🎉",
    "SELECT",
];

fn open(database: &Database, schema: &str) -> Result<EventStore, Error> {
    EventStore::builder(database.url())
        .schema(schema)
        .inline_projection(counts())
        .open()
}

fn counts() -> DocumentProjection<Value> {
    DocumentProjection::single_stream("counts", |count: Option<Value>, _: &Recorded<RawEvent>| {
        let before = count.and_then(|count| count["events"].as_u64());
        Some(json!({ "events": before.unwrap_or(0) + 1 }))
    })
}

fn count_of(store: &EventStore, stream: &str) -> anyhow::Result<Option<u64>> {
    let count = store
        .collection::<Value>("counts")
        .find_one(json!({ "_id": stream }))?;
    Ok(count.and_then(|count| count["events"].as_u64()))
}

fn feed_of(store: &EventStore) -> Result<Vec<u64>, Error> {
    let feed = store.read_all::<RawEvent>(FeedOptions::new());
    feed.map(|recorded| Ok(recorded?.global_position)).collect()
}

#[test]
fn a_schema_of_any_name_holds_everything() -> anyhow::Result<()> {
    for name in ODD_NAMES {
        let database = Server::shared()?.create_database()?;
        let store = open(&database, name)?;
        open(&database, name)?;
        store.tenants().add("acme")?;

        for store in [&store, &store.tenant("acme")?] {
            use_everything(store)?;
        }

        assert_eq!(store.tenants().list()?.len(), 1);
        store.tenants().remove("acme")?.with_all_data()?;
        assert_eq!(count_of(&store, "Cart-1")?, Some(3));
        assert_nothing_is_in_public(&database, name)?;
    }
    Ok(())
}

fn use_everything(store: &EventStore) -> anyhow::Result<()> {
    store.append_to_stream("Cart-1", &[added("shoes", 1), added("hat", 1)])?;
    store.with_session(|session| Ok(session.append_to_stream("Cart-1", &[added("shirt", 1)])?))?;
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.current_version, 3);
    assert_eq!(count_of(store, "Cart-1")?, Some(3));
    let feed = feed_of(store)?;
    assert_eq!(feed.len(), 3);

    let mut log = Vec::new();
    assert_eq!(store.export(&mut log, ExportOptions::new())?.messages, 3);
    let log = String::from_utf8(log)?.replace("Cart-1", "Cart-2");
    assert_eq!(
        store.import(log.as_bytes(), ImportOptions::new())?.imported,
        3
    );
    assert_eq!(count_of(store, "Cart-2")?, Some(3));
    assert_eq!(store.archive_stream("Cart-2")?, Some(3));
    assert_eq!(feed_of(store)?.len(), 6);

    store.rebuild("counts").run()?;
    assert_eq!(count_of(store, "Cart-2")?, Some(3));
    let own = store.collection::<Value>("Überblick \"1\"");
    own.insert_one(&json!({ "_id": "a" }))?;
    assert_eq!(own.count_documents(json!({}))?, 1);
    Ok(())
}

fn assert_nothing_is_in_public(database: &Database, name: &str) -> anyhow::Result<()> {
    let rows = database.client()?.query(
        "SELECT DISTINCT nspname::TEXT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
          WHERE pg_class.oid >= 16384 AND nspname <> 'pg_toast'
         UNION
         SELECT nspname::TEXT FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
          WHERE pg_proc.oid >= 16384",
        &[],
    )?;
    let schemas: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(schemas, [name]);
    Ok(())
}

#[test]
fn a_name_that_would_break_the_sql_is_refused_before_anything_is_sent() {
    let nobody_listens = "postgresql://127.0.0.1:1/none";
    for (name, reason) in [
        ("a'b", "must not contain '"),
        ("a\"b", "must not contain \""),
        ("a$b", "must not contain $"),
        ("a%b", "must not contain %"),
        ("a\\b", "must not contain \\"),
        ("", "must have 1 to 63 bytes, has 0"),
        (&"é".repeat(32), "must have 1 to 63 bytes, has 64"),
        ("a\nb", "must not contain control characters"),
        ("a\0b", "must not contain control characters"),
    ] {
        let refused = EventStore::builder(nobody_listens).schema(name).open();

        let Err(Error::InvalidInput {
            what,
            reason: found,
            ..
        }) = refused
        else {
            panic!("{name:?}: {refused:?}");
        };
        assert!(what.contains("the schema name"), "{what}");
        assert_eq!(found, reason);
    }
}

#[test]
fn two_schemas_of_a_database_share_nothing() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let (first, second) = (open(&database, "first")?, open(&database, "second")?);

    first.append_to_stream("Cart-1", &[added("shoes", 1), added("shoes", 2)])?;
    second.append_to_stream("Cart-1", &[added("hat", 1)])?;
    first.tenants().add("acme")?;

    assert_eq!(feed_of(&first)?, [1, 2]);
    assert_eq!(feed_of(&second)?, [1]);
    assert_eq!(
        second.read_stream::<CartEvent>("Cart-1")?.events[0].event,
        added("hat", 1)
    );
    assert_eq!(
        (count_of(&first, "Cart-1")?, count_of(&second, "Cart-1")?),
        (Some(2), Some(1))
    );
    assert_eq!(second.tenants().list()?, []);
    let refused = second
        .tenant("acme")?
        .append_to_stream("Cart-1", &[added("hat", 1)]);
    assert!(
        matches!(refused, Err(Error::UnknownTenant { .. })),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn an_open_append_holds_back_the_feed_of_its_own_schema_only() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let (first, second) = (open(&database, "first")?, open(&database, "second")?);

    let mut open = first.begin()?;
    open.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    first.append_to_stream("Cart-2", &[added("shoes", 1)])?;
    second.append_to_stream("Cart-2", &[added("shoes", 1)])?;

    assert_eq!((feed_of(&first)?, feed_of(&second)?), (vec![], vec![1]));
    open.commit()?;
    assert_eq!(feed_of(&first)?, [1, 2]);
    Ok(())
}

#[test]
fn a_transaction_that_appends_in_two_schemas_holds_back_both_feeds() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let (first, second) = (open(&database, "first")?, open(&database, "second")?);
    let mut client = database.client()?;

    let mut transaction = client.transaction()?;
    for store in [&first, &second] {
        store.in_transaction(&mut transaction, |session| {
            Ok(session.append_to_stream("Cart-1", &[added("shoes", 1)])?)
        })?;
        store.append_to_stream("Cart-2", &[added("hat", 1)])?;
    }

    assert_eq!((feed_of(&first)?, feed_of(&second)?), (vec![], vec![]));
    transaction.commit()?;
    assert_eq!(
        (feed_of(&first)?, feed_of(&second)?),
        (vec![1, 2], vec![1, 2])
    );
    Ok(())
}

//! Creating the schema, and telling what a database has of it.

use crate::support::{CartEvent, added, database};
use emmett_postgresql::{
    AutoMigration, DocumentProjection, Error, EventStore, FeedOptions, ImportOptions, RawEvent,
    Recorded, SchemaState,
    testing::{Database, Server},
};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::thread;

fn empty_database() -> anyhow::Result<Database> {
    Ok(Server::shared()?.create_database()?)
}

/// Everything that the catalogue knows of the database's own objects, as one text.
fn catalogue(database: &Database) -> anyhow::Result<String> {
    let row = database.client()?.query_one(
        "SELECT coalesce(string_agg(line, E'\\n' ORDER BY line), '') FROM (
             SELECT format('%s %s', relkind, relname) AS line FROM pg_class
              WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)
             UNION ALL
             SELECT md5(pg_get_functiondef(oid)) FROM pg_proc WHERE pronamespace NOT IN
                    ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
             UNION ALL
             SELECT nspname FROM pg_namespace
         ) AS objects",
        &[],
    )?;
    Ok(row.get(0))
}

fn schema_error(result: Result<EventStore, Error>) -> String {
    match result {
        Err(Error::Schema(message)) => message,
        other => panic!("expected a schema error, got {other:?}"),
    }
}

#[test]
fn twenty_programs_may_create_the_schema_at_once() -> anyhow::Result<()> {
    let database = empty_database()?;
    let commands: Vec<_> = (0..10)
        .map(|_| {
            Command::new(env!("CARGO_BIN_EXE_emmett"))
                .args(["migrate", "run", "--connection-string", database.url()])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        })
        .collect::<Result<_, _>>()?;

    thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| EventStore::open(database.url())))
            .collect();
        for thread in threads {
            thread.join().expect("no panic").expect("a store");
        }
    });
    for command in commands {
        let output = command.wait_with_output()?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    let applied = database
        .client()?
        .query_one("SELECT count(*) FROM emt_migrations", &[])?;
    assert_eq!(applied.get::<_, i64>(0), 1);
    Ok(())
}

#[test]
fn the_file_can_be_applied_twice_and_by_hand() -> anyhow::Result<()> {
    let database = empty_database()?;
    let unopened = EventStore::builder(database.url()).open_unchecked()?;

    let mut client = database.client()?;
    client.batch_execute(&unopened.schema().sql())?;
    let once = catalogue(&database)?;
    client.batch_execute(&unopened.schema().sql())?;

    assert_eq!(catalogue(&database)?, once);
    assert_eq!(
        unopened.schema().state()?,
        SchemaState::Current { version: 1 }
    );
    assert_eq!(unopened.schema().migrate()?.skipped, ["schema"]);
    let checksum = client.query_one("SELECT checksum IS NOT NULL FROM emt_migrations", &[])?;
    assert!(checksum.get::<_, bool>(0), "the checksum is filled in");
    Ok(())
}

#[test]
fn without_auto_migration_nothing_is_touched() -> anyhow::Result<()> {
    let database = empty_database()?;
    let before = catalogue(&database)?;

    let refused = EventStore::builder(database.url())
        .auto_migration(AutoMigration::None)
        .open();

    assert!(schema_error(refused).contains("the schema is missing"));
    assert_eq!(catalogue(&database)?, before);
    Ok(())
}

#[test]
fn a_dry_run_and_printing_change_nothing() -> anyhow::Result<()> {
    let database = empty_database()?;
    let before = catalogue(&database)?;
    let schema = EventStore::builder(database.url())
        .open_unchecked()?
        .schema();

    let report = schema.dry_run()?;

    assert_eq!(report.applied, ["schema"]);
    assert!(
        schema
            .sql()
            .contains("CREATE TABLE IF NOT EXISTS public.emt_streams")
    );
    assert_eq!(catalogue(&database)?, before);
    assert_eq!(schema.state()?, SchemaState::Missing);
    Ok(())
}

#[test]
fn a_changed_and_a_newer_schema_are_told_apart_and_not_used() -> anyhow::Result<()> {
    for (change, complaint) in [
        (
            "UPDATE emt_migrations SET checksum = 'other'",
            "was applied with other content",
        ),
        (
            "INSERT INTO emt_migrations VALUES (99, 'later')",
            "newer than this library",
        ),
    ] {
        let database = database();
        database.client()?.batch_execute(change)?;

        for auto_migration in [AutoMigration::CreateOrUpdate, AutoMigration::None] {
            let refused = EventStore::builder(database.url())
                .auto_migration(auto_migration)
                .open();
            let message = schema_error(refused);
            assert!(message.contains(complaint), "{message}");
        }
    }
    Ok(())
}

fn counts() -> DocumentProjection<Value, CartEvent> {
    DocumentProjection::single_stream("counts", |count: Option<Value>, _: &Recorded<CartEvent>| {
        Some(json!({"n": count.and_then(|count| count["n"].as_u64()).unwrap_or(0) + 1}))
    })
}

#[test]
fn a_schema_of_any_name_holds_everything() -> anyhow::Result<()> {
    for name in ["My Schéma-1", "select", "a;b", "ünïcode 🎉"] {
        let database = empty_database()?;
        let store = EventStore::builder(database.url())
            .schema(name)
            .inline_projection(counts())
            .open()?;
        store.tenants().add("acme")?;

        store.append_to_stream("Cart-1", &[added("a", 1), added("b", 1)])?;
        store
            .tenant("acme")?
            .append_to_stream("Cart-1", &[added("c", 1)])?;
        let log = r#"{"streamName":"Cart-2","type":"ProductItemAdded","data":{"productId":"x","quantity":1,"price":1}}"#;
        store.import(log.as_bytes(), ImportOptions::new())?;
        store.archive_stream("Cart-1")?;
        store.rebuild_inline_projection("counts")?;

        let feed = store.read_all::<RawEvent>(FeedOptions::new()).count();
        assert_eq!(feed, 3, "{name}");
        let counted = store
            .collection::<Value>("counts")
            .find(json!({}))
            .sort(json!({"_id": 1}))
            .to_vec()?;
        assert_eq!(
            (counted[0]["n"].as_u64(), counted.len()),
            (Some(2), 2),
            "{name}"
        );
        let elsewhere = database
            .client()?
            .query_one("SELECT to_regclass('public.emt_streams') IS NULL", &[])?;
        assert!(elsewhere.get::<_, bool>(0), "{name}");
    }
    Ok(())
}

#[test]
fn names_that_would_end_a_literal_are_refused_as_a_schema() -> anyhow::Result<()> {
    let database = empty_database()?;

    for name in [
        "",
        "it's",
        "a$b",
        "a\"b",
        "50%",
        "back\\slash",
        "nul\0",
        "line\nbreak",
        &"x".repeat(64),
    ] {
        let refused = EventStore::builder(database.url()).schema(name).open();
        assert!(
            matches!(&refused, Err(Error::InvalidInput { what, .. }) if what.contains("schema")),
            "{name:?}: {refused:?}"
        );
    }
    Ok(())
}

#[test]
fn two_schemas_of_one_database_do_not_see_or_stall_each_other() -> anyhow::Result<()> {
    let database = empty_database()?;
    let one = EventStore::builder(database.url()).schema("one").open()?;
    let two = EventStore::builder(database.url()).schema("two").open()?;

    let mut open = one.begin()?;
    open.append_to_stream("Cart-1", &[added("a", 1)])?;
    two.append_to_stream("Cart-1", &[added("b", 1)])?;
    let read = two
        .read_all::<CartEvent>(FeedOptions::new())
        .collect::<Result<Vec<_>, _>>()?;

    assert_eq!(read.len(), 1);
    assert_eq!(one.feed_horizon(0)?.position, 0);
    open.commit()?;
    assert_eq!(
        one.read_stream::<CartEvent>("Cart-1")?.events[0].event,
        added("a", 1)
    );
    Ok(())
}

#[test]
fn a_node_client_finds_the_function_that_it_knows() -> anyhow::Result<()> {
    let (database, store) = crate::support::store()?;
    let mut client = database.client()?;
    let call = "SELECT success, next_stream_position, global_positions, transaction_id IS NOT NULL
                  FROM emt_append_to_stream($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let mut append = |expected: Option<i64>| {
        client.query_one(
            call,
            &[
                &vec!["a", "b"],
                &vec![json!({"productId": "x", "quantity": 1, "price": 2}); 2],
                &vec![json!({"clientId": "anna"}); 2],
                &vec!["1"; 2],
                &vec!["ProductItemAdded"; 2],
                &vec!["E"; 2],
                &"Cart-1",
                &"Cart",
                &expected,
                &"emt:default",
            ],
        )
    };

    let (first, refused, second) = (append(Some(0))?, append(Some(1))?, append(None)?);

    assert_eq!(
        (first.get(0), first.get(1), first.get(3)),
        (true, 2_i64, true)
    );
    assert_eq!(first.get::<_, Vec<i64>>(2), [1, 2]);
    assert_eq!((refused.get(0), refused.get(1)), (false, 2_i64));
    assert_eq!((second.get(0), second.get(1)), (true, 4_i64));
    let read = store.read_stream::<CartEvent>("Cart-1")?;
    assert_eq!(
        (
            read.current_version,
            read.events[3].metadata["clientId"].as_str()
        ),
        (4, Some("anna"))
    );
    let signature = client.query_one(
        "SELECT pg_get_function_arguments(oid), pg_get_function_result(oid) FROM pg_proc WHERE proname = 'emt_append_to_stream'",
        &[],
    )?;
    assert_eq!(
        signature.get::<_, &str>(0),
        "v_message_ids text[], v_messages_data jsonb[], v_messages_metadata jsonb[], v_message_schema_versions text[], \
         v_message_types text[], v_message_kinds text[], v_stream_id text, v_stream_type text, \
         v_expected_stream_position bigint DEFAULT NULL::bigint, v_partition text DEFAULT 'emt:default'::text"
    );
    assert_eq!(
        signature.get::<_, &str>(1),
        "TABLE(success boolean, next_stream_position bigint, global_positions bigint[], transaction_id xid8)"
    );
    Ok(())
}

//! Roles with the documented grants can do what they need, and nothing else.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{
    AutoMigration, DocumentProjection, Error, EventStore, FeedOptions, RawEvent, Recorded,
    StreamMessages, testing::Database,
};
use serde_json::{Value, json};

fn counts() -> DocumentProjection<Value, CartEvent> {
    DocumentProjection::single_stream("counts", |count: Option<Value>, _: &Recorded<CartEvent>| {
        Some(json!({"n": count.and_then(|count| count["n"].as_u64()).unwrap_or(0) + 1}))
    })
}

/// A role of its own for one test: roles belong to the server, not to the database.
fn role(database: &Database, access: &str) -> anyhow::Result<String> {
    let role = format!("{}_{access}", database.name());
    database.client()?.batch_execute(&format!(
        "CREATE ROLE {role} LOGIN; SELECT emt_grant('{role}', '{access}')"
    ))?;
    Ok(role)
}

fn url_as(database: &Database, role: &str) -> String {
    let url = database.url();
    match url.split_once("user=") {
        Some((before, after)) => {
            let rest = after
                .split_once('&')
                .map_or(String::new(), |(_, rest)| format!("&{rest}"));
            format!("{before}user={role}{rest}")
        }
        None => format!(
            "{url}{}user={role}",
            if url.contains('?') { '&' } else { '?' }
        ),
    }
}

fn open_as(database: &Database, role: &str, projections: bool) -> Result<EventStore, Error> {
    let mut builder =
        EventStore::builder(&url_as(database, role)).auto_migration(AutoMigration::None);
    if projections {
        builder = builder.inline_projection(counts());
    }
    builder.open()
}

#[test]
fn a_writer_does_all_that_a_writer_does() -> anyhow::Result<()> {
    let (database, owner) = store()?;
    owner
        .collection::<Value>("counts")
        .count_documents(json!({}))?;
    let writer = open_as(&database, &role(&database, "writer")?, true)?;
    owner.tenants().add("later")?;
    owner
        .collection::<Value>("later")
        .count_documents(json!({}))?;

    for store in [&writer, &writer.tenant("later")?] {
        store.append_to_stream("Cart-1", &[added("a", 1), added("b", 1)])?;
        store.append_to_streams(vec![StreamMessages::new("Cart-1", &[added("c", 1)])?])?;
        store.with_session(|session| Ok(session.append_to_stream("Cart-2", &[added("d", 1)])?))?;
        let stale = store.append_to_stream_with(
            "Cart-9",
            &[added("a", 1)],
            emmett_postgresql::AppendOptions::new().expected_version(3),
        );
        assert!(stale.is_err_and(|error| error.is_conflict()));
        store.set_stream_metadata("Cart-1", &serde_json::Map::new())?;
        store
            .collection::<Value>("later")
            .insert_one(&json!({"_id": "1"}))?;
        assert_eq!(
            store.collection::<Value>("later").delete_many(json!({}))?,
            1
        );
        assert_eq!(
            store
                .read_all::<RawEvent>(FeedOptions::new())
                .collect::<Result<Vec<_>, _>>()?
                .len(),
            4
        );
        let counted = store
            .collection::<Value>("counts")
            .find_one(json!({"_id": "Cart-1"}))?
            .expect("a document");
        assert_eq!(counted["n"], 3);
    }
    Ok(())
}

#[test]
fn a_reader_does_all_that_a_reader_does() -> anyhow::Result<()> {
    let (database, owner) = store()?;
    let reader = open_as(&database, &role(&database, "reader")?, false)?;
    owner.tenants().add("later")?;
    for store in [&owner, &owner.tenant("later")?] {
        store.append_to_stream("Cart-1", &[added("a", 1)])?;
        store
            .collection::<Value>("notes")
            .insert_one(&json!({"_id": "1"}))?;
    }

    for store in [&reader, &reader.tenant("later")?] {
        assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.current_version, 1);
        assert_eq!(
            store
                .read_all::<RawEvent>(FeedOptions::new())
                .collect::<Result<Vec<_>, _>>()?
                .len(),
            1
        );
        assert_eq!(
            store
                .collection::<Value>("notes")
                .count_documents(json!({}))?,
            1
        );
        let mut log = Vec::new();
        assert_eq!(
            store
                .export(&mut log, emmett_postgresql::ExportOptions::new())?
                .messages,
            1
        );
    }
    assert_eq!(reader.tenants().list()?.len(), 1);
    Ok(())
}

#[test]
fn what_a_role_does_not_need_is_refused() -> anyhow::Result<()> {
    let (database, owner) = store()?;
    owner.append_to_stream("Cart-1", &[added("a", 1)])?;
    owner
        .collection::<Value>("notes")
        .insert_one(&json!({"_id": "1"}))?;
    let beyond_both = [
        "UPDATE emt_messages SET message_data = '{}'",
        "DELETE FROM emt_messages",
        "DELETE FROM emt_messages_emt_default_active",
        "TRUNCATE emt_messages_emt_default_active",
        "DELETE FROM emt_migrations",
        "UPDATE emt_partitions SET has_archived = FALSE",
        "SELECT setval('emt_global_message_position', 1)",
        "CREATE TABLE emt_of_mine (id INTEGER)",
        "DROP TABLE notes",
        "SELECT emt_create_partition('mine')",
        "SELECT emt_drop_partition('emt:default')",
        "SELECT emt_move_stream('Cart-1', 'emt:default', TRUE)",
        "SELECT emt_create_collection('mine')",
    ];
    let beyond_readers = [
        "UPDATE emt_streams SET stream_position = 9",
        "DELETE FROM emt_streams",
        "INSERT INTO emt_messages SELECT * FROM emt_messages",
        "UPDATE notes SET data = '{}'",
        "DELETE FROM notes",
        "SELECT nextval('emt_global_message_position')",
        "UPDATE emt_projections SET status = 'stale'",
        "DELETE FROM emt_subscriptions",
    ];

    for access in ["reader", "writer"] {
        let role = role(&database, access)?;
        let mut client = postgres::Client::connect(&url_as(&database, &role), postgres::NoTls)?;
        let readers_only = if access == "reader" {
            &beyond_readers[..]
        } else {
            &[]
        };
        for sql in beyond_both.iter().chain(readers_only) {
            let refused = client.batch_execute(sql);
            assert!(refused.is_err(), "a {access} may not {sql}");
        }
    }
    let reader = open_as(&database, &format!("{}_reader", database.name()), false)?;
    assert!(reader.append_to_stream("Cart-1", &[added("b", 1)]).is_err());
    assert!(reader.archive_stream("Cart-1").is_err());
    assert_eq!(owner.read_stream::<CartEvent>("Cart-1")?.current_version, 1);
    Ok(())
}

#[test]
fn a_grant_of_anything_else_is_refused() -> anyhow::Result<()> {
    let (database, _store) = store()?;

    let refused = database
        .client()?
        .batch_execute("SELECT emt_grant('postgres', 'owner')");

    assert!(refused.is_err_and(|error| {
        error
            .as_db_error()
            .is_some_and(|error| error.message().contains("owner"))
    }));
    Ok(())
}

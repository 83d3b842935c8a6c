//! Statements that were prepared before a migration.

use super::proxy::Proxy;
use crate::support::{CartEvent, added, database};
use emmett_postgresql::{
    ConnectionOptions, DocumentProjection, EventStore, Recorded, SqlProjection,
};
use serde_json::{Value, json};

#[test]
fn a_read_whose_columns_have_changed_is_prepared_again() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(3))
        .open()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let read = || store.read_stream::<CartEvent>("Cart-1");
    // On every connection.
    let sessions = (0..3)
        .map(|_| store.begin())
        .collect::<Result<Vec<_>, _>>()?;
    for mut session in sessions {
        session.read_stream::<CartEvent>("Cart-1")?;
    }
    read()?;

    for kind in ["VARCHAR", "TEXT"] {
        database.client()?.batch_execute(&format!(
            "ALTER TABLE emt_messages ALTER COLUMN message_type TYPE {kind}"
        ))?;

        assert_eq!(read()?.events.len(), 1, "{kind}");
        assert_eq!(
            store
                .append_to_stream("Cart-2", &[added("hat", 1)])?
                .global_positions
                .len(),
            1
        );
    }
    Ok(())
}

#[test]
fn an_append_whose_function_was_replaced_goes_on() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::open(database.url())?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let mut client = database.client()?;
    let definition: String = client
        .query_one("SELECT string_agg(pg_get_functiondef(oid), ';') FROM pg_proc WHERE proname = 'emt_append'", &[])?
        .get(0);

    client.batch_execute(&format!(
        "BEGIN;
         DO $$ BEGIN EXECUTE 'DROP FUNCTION ' || (SELECT oid::REGPROCEDURE FROM pg_proc WHERE proname = 'emt_append'); END $$;
         {definition};
         COMMIT"
    ))?;

    assert_eq!(
        store
            .append_to_stream("Cart-1", &[added("hat", 1)])?
            .next_expected_version,
        2
    );
    Ok(())
}

#[test]
fn an_append_whose_document_table_was_altered_is_projected_once() -> anyhow::Result<()> {
    let database = database();
    let counts = DocumentProjection::single_stream(
        "counts",
        |count: Option<Value>, _: &Recorded<CartEvent>| {
            let count = count.and_then(|count| count["n"].as_u64()).unwrap_or(0);
            Some(json!({"n": count + 1}))
        },
    );
    let store = EventStore::builder(database.url())
        .inline_projection(counts)
        .open()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    for (version, kind) in [(2, "VARCHAR"), (3, "TEXT")] {
        database
            .client()?
            .batch_execute(&format!("ALTER TABLE counts ALTER COLUMN _id TYPE {kind}"))?;

        let appended = store.append_to_stream("Cart-1", &[added("hat", 1)])?;

        assert_eq!(appended.next_expected_version, version);
        let count = store.collection::<Value>("counts").find_one(json!({}))?;
        assert_eq!(count.map(|count| count["n"].clone()), Some(json!(version)));
    }
    Ok(())
}

#[test]
fn an_append_whose_projection_reads_an_altered_table_goes_on() -> anyhow::Result<()> {
    let database = database();
    let prices = SqlProjection::new("prices", |_: &[Recorded<CartEvent>], context| {
        context.query("SELECT * FROM prices", &[])?;
        Ok(())
    })
    .init(|context| Ok(context.batch_execute("CREATE TABLE prices (price INTEGER)")?));
    let store = EventStore::builder(database.url())
        .inline_projection(prices)
        .open()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    database
        .client()?
        .batch_execute("ALTER TABLE prices ADD COLUMN currency TEXT")?;

    assert_eq!(
        store
            .append_to_stream("Cart-1", &[added("hat", 1)])?
            .next_expected_version,
        2
    );
    Ok(())
}

#[test]
fn a_session_that_meets_a_stale_statement_fails_once_and_may_be_repeated() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .open()?;
    database
        .client()?
        .batch_execute("CREATE TABLE prices (price INTEGER)")?;
    let session = || {
        store.with_session(|session| {
            session.append_to_stream("Cart-1", &[added("hat", 1)])?;
            Ok(session.query("SELECT * FROM prices", &[])?.len())
        })
    };
    session()?;
    database
        .client()?
        .batch_execute("ALTER TABLE prices ADD COLUMN currency TEXT")?;

    let error = session().expect_err("the statement is stale");

    assert!(error.is_retryable(), "{error:?}");
    session()?;
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.current_version, 2);
    Ok(())
}

#[test]
fn statements_that_the_user_has_thrown_away_are_prepared_again() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .open()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.read_stream::<CartEvent>("Cart-1")?;

    store.with_session(|session| Ok(session.batch_execute("DEALLOCATE ALL")?))?;

    assert_eq!(
        store
            .append_to_stream("Cart-1", &[added("hat", 1)])?
            .next_expected_version,
        2
    );
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.events.len(), 2);
    Ok(())
}

#[test]
fn a_stale_statement_is_recognised_in_any_language() -> anyhow::Result<()> {
    let database = database();
    let proxy = Proxy::to(&database)?;
    proxy.translate("cached plan must not change result type");
    proxy.translate("does not exist");
    let counts = DocumentProjection::single_stream(
        "counts",
        |count: Option<Value>, _: &Recorded<CartEvent>| count.or_else(|| Some(json!({}))),
    );
    let store = EventStore::builder(proxy.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .inline_projection(counts)
        .open()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.read_stream::<CartEvent>("Cart-1")?;

    for change in [
        "ALTER TABLE counts ALTER COLUMN _id TYPE VARCHAR",
        "ALTER TABLE emt_messages ALTER COLUMN message_type TYPE VARCHAR",
    ] {
        database.client()?.batch_execute(change)?;
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        store.read_stream::<CartEvent>("Cart-1")?;
    }
    store.with_session(|session| Ok(session.batch_execute("DEALLOCATE ALL")?))?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    let read = store.read_stream::<CartEvent>("Cart-1")?;
    assert_eq!(read.events.len(), 4);
    Ok(())
}

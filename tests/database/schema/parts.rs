//! A database with only a part of the schema.

use crate::support::{CartEvent, added};
use emmett_postgresql::pongo::PongoClient;
use emmett_postgresql::testing::Server;
use emmett_postgresql::{
    EventStore,
    database::{AutoMigration, SchemaState},
};
use serde_json::{Value, json};

#[test]
fn a_database_with_documents_becomes_an_event_store_and_keeps_them() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let client = PongoClient::connect(database.url())?;
    client
        .collection("users")
        .insert_one(&json!({"_id": "anna"}))?;

    let old = EventStore::builder(database.url())
        .auto_migration(AutoMigration::None)
        .open();
    let unopened = EventStore::builder(database.url()).open_unchecked()?;
    let (found, needed) = (1, 2);
    assert_eq!(
        unopened.schema().state()?,
        SchemaState::Old { found, needed }
    );
    let message = old.expect_err("there is no event store").to_string();
    assert!(
        message.contains("has version 1, this library needs 2"),
        "{message}"
    );
    assert_eq!(unopened.schema().dry_run()?.applied, ["schema"]);
    let store = EventStore::open(database.url())?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    let users = store.collection::<Value>("users");
    assert_eq!(
        users.find_one(json!({}))?,
        Some(json!({"_id": "anna", "_version": 1}))
    );
    assert_eq!(
        client.schema().state()?,
        SchemaState::Current { version: 1 }
    );
    Ok(())
}

#[test]
fn emmetts_tables_are_adopted_beside_documents_and_left_alone_by_a_client() -> anyhow::Result<()> {
    for documents_first in [true, false] {
        let database = Server::shared()?.create_database()?;
        let mut admin = database.client()?;
        let mut emmett = || admin.batch_execute(include_str!("../../fixtures/emmett-0.42.sql"));
        if !documents_first {
            emmett()?;
        }
        let client = PongoClient::connect(database.url())?;
        client
            .collection("users")
            .insert_one(&json!({"_id": "anna"}))?;
        if documents_first {
            emmett()?;
        }

        let unopened = EventStore::builder(database.url()).open_unchecked()?;
        assert_eq!(unopened.schema().state()?, SchemaState::Emmett);
        let report = unopened.schema().migrate()?;
        assert_eq!(report.skipped, ["documents"]);
        assert_eq!(report.applied, ["schema", "adopt_emmett"]);

        let store = EventStore::open(database.url())?;
        let stream = store.read_stream::<CartEvent>("ShoppingCart-1")?;
        assert_eq!(stream.current_version, 2);
        let users = store.collection::<Value>("users");
        assert_eq!(users.count_documents(json!({}))?, 1);
    }
    Ok(())
}

//! Tables that somebody else has created.

use crate::support;
use emmett_postgresql::Error;
use emmett_postgresql::pongo::PongoClient;
use emmett_postgresql::testing::Server;
use serde_json::{Value, json};

/// As Pongo's Node library creates a collection, and writes into it.
const NODE: &str = "
    CREATE TABLE carts (
        _id TEXT PRIMARY KEY, data JSONB NOT NULL, metadata JSONB NOT NULL DEFAULT '{}', _version BIGINT NOT NULL DEFAULT 1,
        _partition TEXT NOT NULL DEFAULT 'png_global', _archived BOOLEAN NOT NULL DEFAULT FALSE,
        _created TIMESTAMPTZ NOT NULL DEFAULT now(), _updated TIMESTAMPTZ NOT NULL DEFAULT now());
    INSERT INTO carts (_id, data, _version) VALUES
        ('b', '{\"_id\": \"b\", \"_version\": \"4\", \"n\": 1}', 4),
        ('B', '{\"_id\": \"B\", \"_version\": \"1\", \"n\": 2}', 1)";

const NODE_INSERT: &str = "
    INSERT INTO carts (_id, data, _version) VALUES ('c', '{\"_id\": \"c\", \"_version\": \"1\", \"n\": 3}', 1)
    ON CONFLICT (_id) DO NOTHING";

const NODE_UPDATE: &str = "
    UPDATE carts SET data = data || '{\"n\": 9, \"_version\": \"6\"}', _version = _version + 1 WHERE _id = 'b'";

fn ids(found: &[Value]) -> Vec<&str> {
    found
        .iter()
        .filter_map(|document| document["_id"].as_str())
        .collect()
}

#[test]
fn a_collection_of_pongo_for_node_is_used_by_both() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let mut node = postgres::Client::connect(database.url(), postgres::NoTls)?;
    node.batch_execute(NODE)?;

    let client = PongoClient::connect(database.url())?;
    let carts = client.collection::<Value>("carts");
    let found = carts.find_by_id("b")?.expect("Node's");
    assert_eq!(found, json!({"_id": "b", "_version": 4, "n": 1}));
    let all = carts.find(json!({})).sort(json!({"_id": 1})).to_vec()?;
    assert_eq!(ids(&all), ["B", "b"], "in the order of bytes");
    let updated = carts.update_one(json!({"_id": "b"}), json!({"$inc": {"n": 1}}))?;
    assert_eq!(updated.version, Some(5));
    carts.upsert_one(&json!({"_id": "d", "n": 4}))?;
    carts.handle("e", |_| Ok(Some(json!({"n": 5}))))?;
    let taken = carts.insert_one(&json!({"_id": "B"}));
    assert!(
        matches!(&taken, Err(Error::DocumentExists { id, .. }) if id == "B"),
        "{taken:?}"
    );

    node.execute(NODE_INSERT, &[])?;
    node.execute(NODE_UPDATE, &[])?;
    let all = carts.find(json!({})).sort(json!({"_id": 1})).to_vec()?;
    assert_eq!(ids(&all), ["B", "b", "c", "d", "e"]);
    assert_eq!(all[1], json!({"_id": "b", "_version": 6, "n": 9}));

    // Its ids are one to a table, for all tenants.
    let tenant = client.tenant("acme")?.collection::<Value>("carts");
    assert_eq!(tenant.count_documents(json!({}))?, 0);
    tenant.insert_one(&json!({"_id": "f"}))?;
    let taken = tenant.insert_one(&json!({"_id": "b"}));
    assert!(taken.is_err(), "{taken:?}");
    Ok(())
}

#[test]
fn a_table_that_is_no_collection_is_refused_and_said_why() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let mut owner = postgres::Client::connect(database.url(), postgres::NoTls)?;
    owner.batch_execute(
        "CREATE TABLE customers (id BIGINT PRIMARY KEY, name TEXT);
         CREATE TABLE texts (_id TEXT, data TEXT, metadata JSONB, _version BIGINT, _partition TEXT, _archived BOOLEAN,
                             _created TIMESTAMPTZ, _updated TIMESTAMPTZ, PRIMARY KEY (_id, _partition));
         CREATE TABLE keyless (LIKE texts);
         ALTER TABLE keyless ALTER COLUMN data TYPE JSONB USING '{}';
         CREATE VIEW seen AS SELECT 1;",
    )?;
    let client = PongoClient::connect(database.url())?;
    for (name, reason) in [
        ("customers", "column _id is missing"),
        ("texts", "column data is text, not jsonb"),
        ("keyless", "it has no primary key, not (_id, _partition)"),
        ("seen", "it is a view"),
    ] {
        let refused = client
            .collection::<Value>(name)
            .insert_one(&json!({}))
            .unwrap_err();
        let message = format!("{:#}", anyhow::Error::from(refused));
        assert!(
            message.contains(reason) && message.contains(name),
            "{message}"
        );
    }
    Ok(())
}

#[test]
fn a_table_of_our_layout_is_a_collection() -> anyhow::Result<()> {
    let (database, store) = support::store()?;
    let kept = store.collection::<Value>("kept");
    kept.insert_one(&json!({"_id": "a"}))?;
    store.with_session(|session| {
        session.execute("DELETE FROM emt_collections WHERE name = 'kept'", &[])?;
        Ok(())
    })?;
    let client = PongoClient::connect(database.url())?;
    assert_eq!(
        client
            .collection::<Value>("kept")
            .count_documents(json!({}))?,
        1
    );
    Ok(())
}

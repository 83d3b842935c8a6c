//! Foreign tables: of Pongo for Node, of an earlier registration, or with another layout.

use super::client::{client, exists};
use crate::support::database;
use emmett_postgresql::database::AutoMigration;
use emmett_postgresql::pongo::{CollectionDefinition, Error, Index, PongoClient};
use emmett_postgresql::testing::{Database, Server};
use postgres::{Client, NoTls};
use serde_json::{Value, json};

/// As Pongo's Node library creates it, and what that has put into it. `{collation}` is the database's.
const NODES: &str = r#"
    CREATE TABLE users (
        _id         TEXT         {collation} PRIMARY KEY,
        data        JSONB        NOT NULL,
        metadata    JSONB        NOT NULL DEFAULT '{}',
        _version    BIGINT       NOT NULL DEFAULT 1,
        _partition  TEXT         NOT NULL DEFAULT 'png_global',
        _archived   BOOLEAN      NOT NULL DEFAULT FALSE,
        _created    TIMESTAMPTZ  NOT NULL DEFAULT now(),
        _updated    TIMESTAMPTZ  NOT NULL DEFAULT now()
    );
    INSERT INTO users (_id, data, _version) VALUES
        ('b', '{"_id": "b", "_version": "3", "name": "Bea", "age": 9}', 3),
        ('B', '{"_id": "B", "_version": "1", "name": "Ben", "age": 10}', 1),
        ('a', '{"_id": "a", "_version": "1", "name": "Ann", "age": 100}', 1);"#;

/// The shapes of Node's statements.
const NODE_INSERT: &str = r"
    INSERT INTO users (_id, data, _version) VALUES ($1, $2, 1) ON CONFLICT(_id) DO NOTHING RETURNING _id";

const NODE_UPSERT: &str = r"
    INSERT INTO users (_id, data, _version) VALUES ($1, $2, 1)
    ON CONFLICT (_id) DO UPDATE SET data = EXCLUDED.data, _version = users._version + 1";

const NODE_UPDATE: &str = r#"
    WITH existing AS (SELECT _id, _version FROM users WHERE _id = $1 LIMIT 1),
         updated AS (UPDATE users
                        SET data = (data || '{"by": "node"}') || jsonb_build_object('_version', (users._version + 1)::TEXT),
                            _version = users._version + 1
                       FROM existing WHERE users._id = existing._id RETURNING users._version)
    SELECT _version FROM updated"#;

/// In an order that is not that of the bytes, where the server knows one.
fn nodes(client: &mut Client) -> anyhow::Result<()> {
    let icu = "SELECT count(*) FROM pg_collation WHERE collname = 'und-x-icu'";
    let known = client.query_one(icu, &[])?.get::<_, i64>(0) > 0;
    let collation = if known { "COLLATE \"und-x-icu\"" } else { "" };
    Ok(client.batch_execute(&NODES.replace("{collation}", collation))?)
}

fn nodes_database() -> anyhow::Result<Database> {
    let database = Server::shared()?.create_database()?;
    nodes(&mut database.client()?)?;
    Ok(database)
}

#[test]
fn a_collection_of_pongo_for_node_is_used_by_both() -> anyhow::Result<()> {
    let database = nodes_database()?;
    let mut node = database.client()?;
    let client = PongoClient::connect(database.url())?;
    let users = client.collection::<Value>("users");

    let bea = users.find_one(json!({"_id": "b"}))?;
    let sorted = users.find(json!({})).sort(json!({"_id": 1})).to_vec()?;
    let old = users.find(json!({"age": {"$gt": 9}})).to_vec()?;
    assert_eq!(
        bea,
        Some(json!({"_id": "b", "_version": 3, "name": "Bea", "age": 9}))
    );
    let ids: Vec<&str> = sorted
        .iter()
        .filter_map(|user| user["_id"].as_str())
        .collect();
    assert_eq!(ids, ["B", "a", "b"]);
    assert_eq!(old.len(), 2);

    users.update_one(json!({"_id": "b"}), json!({"$set": {"age": 11}}))?;
    let version = node.query_one(NODE_UPDATE, &[&"b"])?;
    assert_eq!(version.get::<_, i64>(0), 5);
    let inserted = node.query(NODE_INSERT, &[&"c", &json!({"_id": "c", "_version": "1"})])?;
    let taken = node.query(NODE_INSERT, &[&"c", &json!({"_id": "c", "_version": "1"})])?;
    assert_eq!((inserted.len(), taken.len()), (1, 0));
    node.execute(NODE_UPSERT, &[&"c", &json!({"_id": "c", "by": "node"})])?;
    let both = users
        .find(json!({"by": "node"}))
        .sort(json!({"_id": 1}))
        .to_vec()?;
    assert_eq!(
        both,
        [
            json!({"_id": "b", "_version": 5, "name": "Bea", "age": 11, "by": "node"}),
            json!({"_id": "c", "_version": 2, "by": "node"})
        ]
    );

    users.insert_one(&json!({"_id": "d"}))?;
    users.upsert_one(&json!({"_id": "e", "age": 1}))?;
    users.upsert_one(&json!({"_id": "e", "age": 2}))?;
    users.handle("f", |_| Ok(Some(json!({"age": 3}))))?;
    // Up to 0.16, Node's library reads the JSON alone.
    let json = "SELECT data FROM users WHERE _id IN ('d', 'e', 'f') ORDER BY _id";
    let json: Vec<Value> = node
        .query(json, &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(
        json,
        [
            json!({"_id": "d", "_version": "1"}),
            json!({"_id": "e", "_version": "2", "age": 2}),
            json!({"_id": "f", "_version": "1", "age": 3})
        ]
    );
    let same = users.replace_one(json!({"_id": "e"}), &json!({"age": 2}))?;
    assert!(same.matched && !same.modified);
    assert_eq!(users.count_documents(json!({"age": {"$in": [2, 3]}}))?, 2);
    let seen = node.query(NODE_INSERT, &[&"d", &json!({})])?;
    assert!(seen.is_empty(), "Node sees that the id is taken");
    let taken = users.insert_one(&json!({"_id": "c"}));
    assert!(
        matches!(&taken, Err(Error::Exists { id, .. }) if id == "c"),
        "{taken:?}"
    );
    assert!(users.delete_one(json!({"_id": "d"}))?.is_deleted());
    Ok(())
}

#[test]
fn the_ids_of_nodes_collection_are_unique_over_all_tenants() -> anyhow::Result<()> {
    let database = nodes_database()?;
    let client = PongoClient::connect(database.url())?;
    let acme = client.tenant("acme")?.collection::<Value>("users");

    let taken = acme.insert_one(&json!({"_id": "a"}));
    acme.insert_one(&json!({"_id": "of acme"}))?;

    assert!(
        matches!(&taken, Err(Error::Exists { id, .. }) if id == "a"),
        "{taken:?}"
    );
    assert_eq!(acme.count_documents(json!({}))?, 1);
    let users = client.collection::<Value>("users");
    assert_eq!(users.count_documents(json!({}))?, 3);
    Ok(())
}

#[test]
fn a_projection_keeps_a_collection_of_nodes() -> anyhow::Result<()> {
    use crate::support::added;
    use emmett_postgresql::{DocumentProjection, EventStore, RawEvent, Recorded};
    let database = nodes_database()?;
    let users = DocumentProjection::single_stream(
        "users",
        |user: Option<Value>, _: &Recorded<RawEvent>| {
            let mut user = user.unwrap_or_else(|| json!({"name": "new"}));
            user["events"] = json!(user["events"].as_u64().unwrap_or(0) + 1);
            Some(user)
        },
    );
    let store = EventStore::builder(database.url())
        .inline_projection(users)
        .open()?;

    for stream in ["a", "new", "new"] {
        store.append_to_stream(stream, &[added("shoes", 1)])?;
    }

    let users = store.collection::<Value>("users");
    let ann = users.find_one(json!({"_id": "a"}))?.unwrap_or_default();
    let new = users.find_one(json!({"_id": "new"}))?.unwrap_or_default();
    assert_eq!((&ann["name"], &ann["events"]), (&json!("Ann"), &json!(1)));
    assert_eq!((&new["name"], &new["events"]), (&json!("new"), &json!(2)));
    Ok(())
}

#[test]
fn a_collection_that_was_forgotten_is_recognised() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let users = client.collection::<Value>("users");
    users.insert_one(&json!({"_id": "1"}))?;
    database
        .client()?
        .batch_execute("DELETE FROM emt_collections")?;

    let again = PongoClient::connect(database.url())?.collection::<Value>("users");

    assert!(!again.create()?);
    assert_eq!(again.count_documents(json!({}))?, 1);
    let row = database.client()?.query_one(
        "SELECT count(*) FROM emt_collections WHERE name = 'users'",
        &[],
    )?;
    assert_eq!(row.get::<_, i64>(0), 1);
    Ok(())
}

#[test]
fn a_table_that_does_not_fit_is_refused_and_what_is_wrong_is_named() -> anyhow::Result<()> {
    let fitting = "
        _id TEXT, data JSONB, metadata JSONB, _version BIGINT, _partition TEXT, _archived BOOLEAN, _created TIMESTAMPTZ,
        _updated TIMESTAMPTZ";
    let table = |columns: &str, more: &str| format!("CREATE TABLE users ({columns}{more})");
    let key = ", PRIMARY KEY (_id, _partition)";
    for (create, problem) in [
        (
            table(&fitting.replace("metadata JSONB,", ""), key),
            "column metadata is missing",
        ),
        (
            table(&fitting.replace("_version BIGINT", "_version INTEGER"), key),
            "column _version is integer, not bigint",
        ),
        (
            table(&fitting.replace("data JSONB, meta", "data JSON, meta"), key),
            "column data is json, not jsonb",
        ),
        (
            table(fitting, ""),
            "it has no primary key, not (_id, _partition)",
        ),
        (
            table(fitting, ", PRIMARY KEY (_id, _version)"),
            "its primary key is (_id, _version), not (_id, _partition)",
        ),
        (
            table(fitting, ", PRIMARY KEY (_id), name TEXT NOT NULL"),
            "column _version has no default, column name has no default",
        ),
        (
            "CREATE VIEW users AS SELECT 1 AS _id".to_owned(),
            "it is a view",
        ),
        ("CREATE SEQUENCE users".to_owned(), "it is a sequence"),
        (
            "CREATE TABLE users (a INTEGER)".to_owned(),
            "column _id is missing, column data is missing",
        ),
    ] {
        let (database, client) = client()?;
        database.client()?.batch_execute(&create)?;
        let declaring = PongoClient::builder(database.url())
            .collection(CollectionDefinition::new("users"))
            .connect_unchecked()?;

        for refused in [
            client.collection::<Value>("users").create().err(),
            client.collection("users").insert_one(&json!({})).err(),
            client.collection::<Value>("users").drop().map(|_| ()).err(),
            declaring.schema().dry_run().err().map(Error::from),
            declaring.schema().migrate().err().map(Error::from),
        ] {
            let refused = refused.expect("the table is not a collection").to_string();
            assert!(
                refused.contains(problem) || refused.contains("is not a collection of this"),
                "{create}: {refused}"
            );
        }
        assert!(exists(&database, "users")?);
    }
    Ok(())
}

#[test]
fn a_dry_run_adopts_nothing() -> anyhow::Result<()> {
    let database = nodes_database()?;
    let client = PongoClient::builder(database.url())
        .collection(CollectionDefinition::new("users").index(Index::field("age")))
        .connect_unchecked()?;

    let report = client.schema().dry_run()?;

    assert_eq!(
        report.applied,
        ["documents", "collection users", "index users_age_idx"]
    );
    let partitions = "SELECT string_agg(DISTINCT _partition, ',') FROM users";
    let row = database.client()?.query_one(partitions, &[])?;
    assert_eq!(row.get::<_, &str>(0), "png_global");
    client.schema().migrate()?;
    let row = database.client()?.query_one(partitions, &[])?;
    assert_eq!(row.get::<_, &str>(0), "emt:default");
    Ok(())
}

#[test]
fn who_may_not_alter_the_table_is_told_who_has_to_open_it() -> anyhow::Result<()> {
    let server = Server::start()?;
    let database = server.create_database()?;
    PongoClient::connect(database.url())?;
    nodes(&mut database.client()?)?;
    database.client()?.batch_execute(
        "CREATE ROLE app LOGIN;
         GRANT CREATE, USAGE ON SCHEMA public TO app;
         GRANT ALL ON users, emt_collections, emt_migrations TO app",
    )?;
    let url = database.url().replace("user=postgres", "user=app");
    Client::connect(&url, NoTls)?;

    let refused = PongoClient::connect(&url)?
        .collection::<Value>("users")
        .find_one(json!({}));
    let refused = refused
        .expect_err("the role does not own the table")
        .to_string();
    assert!(
        refused.contains("must be made a collection first, which role \"app\" may not do"),
        "{refused}"
    );

    PongoClient::connect(database.url())?
        .collection::<Value>("users")
        .create()?;
    let users = PongoClient::connect(&url)?.collection::<Value>("users");
    assert_eq!(users.count_documents(json!({}))?, 3);
    Ok(())
}

#[test]
fn a_store_uses_what_a_client_has_adopted() -> anyhow::Result<()> {
    let database = database();
    nodes(&mut database.client()?)?;
    let without = PongoClient::builder(database.url())
        .auto_migration(AutoMigration::None)
        .connect()?;
    // Not adopted, it has no documents of the default partition.
    let users = without.collection::<Value>("users");
    assert_eq!(users.count_documents(json!({}))?, 0);

    assert!(!users.create()?);

    assert_eq!(users.count_documents(json!({}))?, 3);
    let store = emmett_postgresql::EventStore::open(database.url())?;
    let users = store.collection::<Value>("users");
    assert_eq!(users.count_documents(json!({}))?, 3);
    Ok(())
}

//! Collections without an event store.

use crate::support::{added, database, schema_files, store};
use emmett_postgresql::pongo::{Error, PongoClient, PongoClientBuilder};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    ConnectionOptions, Error as StoreError, EventStore,
    database::{AutoMigration, DatabaseError, SchemaState},
};
use postgres::NoTls;
use r2d2_postgres::PostgresConnectionManager;
use serde_json::{Value, json};
use std::time::Duration;

/// A client on an empty database, which has to outlive it.
pub(super) fn client() -> anyhow::Result<(Database, PongoClient)> {
    let database = Server::shared()?.create_database()?;
    let client = PongoClient::connect(database.url())?;
    Ok((database, client))
}

pub(super) fn exists(database: &Database, relation: &str) -> anyhow::Result<bool> {
    let row = database.client()?.query_one(
        "SELECT to_regclass(format('public.%I', $1::TEXT)) IS NOT NULL",
        &[&relation],
    )?;
    Ok(row.get(0))
}

#[test]
fn a_client_creates_what_collections_need_and_no_event_store() -> anyhow::Result<()> {
    let (database, client) = client()?;

    let id = client
        .collection("users")
        .insert_one(&json!({"name": "Anna"}))?
        .id;
    let anna = client
        .collection::<Value>("users")
        .find_one(json!({"name": "Anna"}))?;

    assert_eq!(
        anna,
        Some(json!({"_id": id, "_version": 1, "name": "Anna"}))
    );
    assert_eq!(
        client.schema().state()?,
        SchemaState::Current { version: 1 }
    );
    assert_eq!(client.schema().migrate()?.skipped, ["documents"]);
    assert_eq!(client.schema().sql(), schema_files::documents()?);
    assert!(exists(&database, "emt_collections")? && !exists(&database, "emt_streams")?);
    Ok(())
}

#[test]
fn a_client_and_a_store_on_one_database_see_the_same_documents() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.tenants().add("acme")?;
    let client = PongoClient::connect(database.url())?;

    client.collection("a").insert_one(&json!({"_id": "1"}))?;
    store
        .collection("b")
        .insert_one(&json!({"_id": "2", "by": "store"}))?;
    client
        .tenant("acme")?
        .collection("b")
        .insert_one(&json!({"_id": "3"}))?;

    let one = store.collection::<Value>("a").find_one(json!({}))?;
    let two = client.collection::<Value>("b").find(json!({})).to_vec()?;
    let three = store.tenant("acme")?.collection::<Value>("b");
    assert_eq!(one, Some(json!({"_id": "1", "_version": 1})));
    assert_eq!(two, [json!({"_id": "2", "_version": 1, "by": "store"})]);
    assert_eq!(three.count_documents(json!({"_id": "3"}))?, 1);
    Ok(())
}

#[test]
fn the_options_are_those_of_a_store() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let client = PongoClient::builder(database.url())
        .schema("my shop")
        .connection_options(
            ConnectionOptions::new()
                .pool_size(1)
                .idle_timeout(Duration::from_secs(5))
                .connection_timeout(Duration::from_secs(5))
                .prepared_statements(false),
        )
        .connect()?;

    client.collection("Users").insert_one(&json!({"a": 1}))?;

    let row = database
        .client()?
        .query_one(r#"SELECT count(*) FROM "my shop"."Users""#, &[])?;
    assert_eq!(row.get::<_, i64>(0), 1);
    for refused in [
        PongoClient::builder(database.url())
            .connection_options(ConnectionOptions::new().pool_size(0))
            .connect(),
        PongoClient::builder(database.url())
            .connection_options(ConnectionOptions::new().idle_timeout(Duration::ZERO))
            .connect(),
        PongoClient::builder(database.url())
            .schema("O'Brien")
            .connect(),
    ] {
        assert!(
            matches!(refused, Err(Error::InvalidInput { .. })),
            "{refused:?}"
        );
    }
    Ok(())
}

#[test]
fn a_pool_of_the_callers_is_used() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let manager = PostgresConnectionManager::new(database.url().parse()?, NoTls);
    let pool = r2d2::Pool::builder().max_size(1).build(manager)?;

    let client = PongoClientBuilder::with_pool(pool.clone()).connect()?;
    client.collection("users").insert_one(&json!({"a": 1}))?;

    let row = pool.get()?.query_one("SELECT count(*) FROM users", &[])?;
    assert_eq!(row.get::<_, i64>(0), 1);
    Ok(())
}

#[test]
fn the_password_is_not_shown() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let url = format!("{}&password=secret", database.url());

    let builder = PongoClient::builder(&url);
    let shown = format!("{builder:?}") + &format!("{:?}", builder.connect()?);

    assert!(!shown.contains("secret"), "{shown}");
    Ok(())
}

#[test]
fn a_client_inside_an_async_task_is_refused() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;

    runtime.block_on(async {
        let refused = [
            PongoClient::connect(database.url()).err(),
            client.collection("a").insert_one(&json!({})).err(),
            client.with_transaction(|_| Ok(())).err(),
        ];
        for error in refused {
            assert!(
                matches!(error, Some(Error::Database(DatabaseError::AsyncContext))),
                "{error:?}"
            );
        }
    });
    Ok(())
}

#[test]
fn a_transaction_commits_all_or_nothing() -> anyhow::Result<()> {
    let (_database, client) = client()?;

    let id = client.with_transaction(|transaction| {
        let id = transaction
            .collection("orders")
            .insert_one(&json!({"total": 5}))?
            .id;
        transaction
            .collection("invoices")
            .insert_one(&json!({"order": id}))?;
        let rows = transaction.query("SELECT count(*) FROM orders", &[])?;
        assert_eq!(rows[0].get::<_, i64>(0), 1);
        transaction.execute("UPDATE invoices SET metadata = '{\"a\": 1}'", &[])?;
        Ok(id)
    })?;
    let failed = client.with_transaction(|transaction| -> anyhow::Result<()> {
        transaction
            .collection("orders")
            .insert_one(&json!({"total": 6}))?;
        transaction.collection("refunds").insert_one(&json!({}))?;
        anyhow::bail!("changed my mind")
    });
    let taken = client.with_transaction(|transaction| {
        Ok(transaction
            .collection("orders")
            .insert_one(&json!({"_id": id}))?)
    });

    assert!(
        matches!(&failed, Err(Error::Transaction { source, .. }) if source.to_string() == "changed my mind")
    );
    assert!(
        matches!(&taken, Err(Error::Exists { id: taken, .. }) if *taken == id),
        "{taken:?}"
    );
    let orders = client.collection::<Value>("orders");
    let invoices = client.collection::<Value>("invoices");
    assert_eq!(orders.count_documents(json!({}))?, 1);
    assert_eq!(invoices.count_documents(json!({"order": id}))?, 1);
    // Its table was rolled back, too.
    assert_eq!(
        client
            .collection::<Value>("refunds")
            .count_documents(json!({}))?,
        0
    );
    Ok(())
}

#[test]
fn a_transaction_that_hides_a_failed_statement_is_not_committed() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let hide = |transaction: &mut emmett_postgresql::pongo::PongoTransaction<'_>| {
        transaction.collection("orders").insert_one(&json!({}))?;
        drop(transaction.execute("SELECT 1 / 0", &[]));
        Ok(())
    };

    let own = client.with_transaction(hide);
    let mut caller = database.client()?;
    let mut transaction = caller.transaction()?;
    let borrowed = client.in_transaction(&mut transaction, hide);
    let control = client.with_transaction(|transaction| Ok(transaction.execute("COMMIT", &[])?));

    for refused in [own, borrowed] {
        assert!(
            matches!(
                refused,
                Err(Error::Database(DatabaseError::TransactionAborted { .. }))
            ),
            "{refused:?}"
        );
    }
    assert!(
        matches!(
            control,
            Err(Error::Database(DatabaseError::TransactionControl { .. }))
        ),
        "{control:?}"
    );
    Ok(())
}

#[test]
fn documents_and_rows_of_the_callers_are_committed_together() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let mut caller = database.client()?;
    caller.batch_execute("CREATE TABLE ledger (amount INTEGER)")?;
    let mut book = |commits: bool| -> anyhow::Result<()> {
        let mut transaction = caller.transaction()?;
        transaction.execute("INSERT INTO ledger VALUES (1)", &[])?;
        client.in_transaction(&mut transaction, |transaction| {
            transaction.collection("orders").insert_one(&json!({}))?;
            Ok(())
        })?;
        if commits {
            transaction.commit()?;
        }
        Ok(())
    };

    book(false)?;
    let orders = client.collection::<Value>("orders");
    assert_eq!(orders.count_documents(json!({}))?, 0);
    book(true)?;

    assert_eq!(orders.count_documents(json!({}))?, 1);
    Ok(())
}

#[test]
fn tenants_of_a_client_share_no_document_and_are_removed_alone() -> anyhow::Result<()> {
    let (_database, client) = client()?;
    let (acme, other) = (client.tenant("acme")?, client.tenant("Ünsinn, \"quoted\"")?);
    for client in [&client, &acme, &other] {
        client.collection("a").insert_one(&json!({"_id": "1"}))?;
        client.collection("b").insert_one(&json!({"_id": "1"}))?;
    }
    acme.collection("b").insert_one(&json!({"_id": "2"}))?;

    assert_eq!(client.remove_tenant("acme")?, 3);
    assert_eq!(client.remove_tenant("acme")?, 0);

    let count = |client: &PongoClient, name| {
        client
            .collection::<Value>(name)
            .count_documents(json!({"_id": "1"}))
    };
    assert_eq!((count(&acme, "a")?, count(&acme, "b")?), (0, 0));
    assert_eq!((count(&other, "a")?, count(&client, "b")?), (1, 1));
    for refused in [
        client.remove_tenant("emt:default").err(),
        client.tenant("a\0b").err(),
    ] {
        assert!(
            matches!(refused, Some(Error::InvalidInput { .. })),
            "{refused:?}"
        );
    }
    Ok(())
}

#[test]
fn a_tenant_with_events_is_not_removed_by_a_client() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.tenants().add("acme")?;
    let client = PongoClient::connect(database.url())?;
    client
        .tenant("acme")?
        .collection("a")
        .insert_one(&json!({}))?;
    // From before there was an event store.
    database
        .client()?
        .batch_execute("INSERT INTO a (_id, _partition, data) VALUES ('1', 'b', '{}')")?;

    let refused = client.remove_tenant("acme").expect_err("it has events");
    assert!(refused.to_string().contains("Tenants::remove"), "{refused}");
    assert_eq!(client.remove_tenant("b")?, 1);

    store.tenants().remove("acme")?.with_all_data()?;
    let left: i64 = database
        .client()?
        .query_one("SELECT count(*) FROM a", &[])?
        .get(0);
    assert_eq!(left, 0);
    Ok(())
}

#[test]
fn a_collection_that_was_dropped_from_outside_is_created_again() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let users = client.collection::<Value>("users");
    users.insert_one(&json!({"_id": "1"}))?;

    database.client()?.batch_execute("DROP TABLE users")?;
    assert_eq!(users.count_documents(json!({}))?, 0);
    users.insert_one(&json!({"_id": "1"}))?;
    database
        .client()?
        .batch_execute("SELECT emt_collection_drop('users')")?;
    users.insert_one(&json!({"_id": "2"}))?;

    assert_eq!(users.count_documents(json!({}))?, 1);
    Ok(())
}

#[test]
fn without_migration_a_missing_collection_is_named() -> anyhow::Result<()> {
    let database = database();
    let client = PongoClient::builder(database.url())
        .auto_migration(AutoMigration::None)
        .connect()?;

    let missing = client.collection("users").insert_one(&json!({}));
    let in_transaction = client.with_transaction(|transaction| {
        Ok(transaction.collection("users").insert_one(&json!({}))?)
    });
    let store = EventStore::open(database.url())?;
    let in_session =
        store.with_session(|session| Ok(session.collection("users").insert_one(&json!({}))?));

    let outside = [missing, in_transaction].map(|outcome| outcome.map_err(StoreError::from));
    for error in outside.into_iter().chain([in_session]) {
        let error = error.expect_err("there is no such collection");
        assert!(
            matches!(&error, StoreError::Document(Error::UnknownCollection { collection, .. }) if collection == "users"),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("\"users\": create it"),
            "{error}"
        );
    }
    assert!(!exists(&database, "users")?);
    Ok(())
}

// As the README says it of a database without events.
#[test]
fn a_role_without_other_rights_keeps_documents() -> anyhow::Result<()> {
    let server = Server::start()?;
    let database = server.create_database()?;
    let owner = PongoClient::connect(database.url())?;
    database.client()?.batch_execute(
        "CREATE ROLE app LOGIN;
         GRANT USAGE ON SCHEMA public TO app;
         GRANT SELECT ON emt_migrations, emt_collections TO app",
    )?;
    owner.collection::<Value>("kept").create()?;
    owner.collection::<Value>("read").create()?;
    database
        .client()?
        .batch_execute("GRANT INSERT, UPDATE, DELETE ON kept TO app")?;

    let url = database.url().replace("user=postgres", "user=app");
    let client = PongoClient::builder(&url)
        .auto_migration(AutoMigration::None)
        .connect()?;
    let kept = client.collection::<Value>("kept");
    let id = kept.insert_one(&json!({"n": 1}))?.id;
    kept.update_one(json!({"_id": id}), json!({"$inc": {"n": 1}}))?;
    kept.handle(&id, |_| Ok(None))?;
    let read = client.collection::<Value>("read");
    assert_eq!(read.count_documents(json!({}))?, 0);
    assert!(read.insert_one(&json!({})).is_err());
    Ok(())
}

#[test]
fn without_migration_a_missing_schema_is_reported() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let refused = PongoClient::builder(database.url())
        .auto_migration(AutoMigration::None)
        .connect();

    assert!(
        matches!(refused, Err(Error::Database(DatabaseError::Schema { .. }))),
        "{refused:?}"
    );

    let unchecked = PongoClient::builder(database.url()).connect_unchecked()?;
    let documents = || unchecked.collection::<Value>("documents");
    for refused in [
        documents().insert_one(&json!({})).map(drop),
        documents().find(json!({})).to_vec().map(drop),
        documents().create().map(drop),
        documents().drop().map(drop),
        documents().rename("others").map(drop),
    ] {
        assert!(
            matches!(refused, Err(Error::Database(DatabaseError::Schema { .. }))),
            "{refused:?}"
        );
    }
    assert!(!exists(&database, "emt_migrations")?);
    Ok(())
}

#[test]
fn collections_are_used_before_and_after_a_store_appends() -> anyhow::Result<()> {
    let (database, client) = client()?;
    client.collection("a").insert_one(&json!({"_id": "1"}))?;
    let store = EventStore::open(database.url())?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    client.collection("a").insert_one(&json!({"_id": "2"}))?;

    let both = store.collection::<Value>("a").count_documents(json!({}))?;
    assert_eq!(both, 2);
    Ok(())
}

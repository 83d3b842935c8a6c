//! Documents of a tenant that was never added, or was removed.

use crate::support::{added, store};
use emmett_postgresql::pongo::{self, Collection, Index, PongoClient, Replacement};
use emmett_postgresql::testing::Server;
use emmett_postgresql::{Error, EventStore};
use postgres::IsolationLevel;
use serde_json::{Value, json};

/// Each operation of a collection.
fn operations(
    collection: &dyn Fn() -> Collection<'static, Value>,
) -> Vec<(&'static str, pongo::Result<()>)> {
    let document = || json!({"_id": "1", "a": 1});
    let id = || json!({"_id": "1"});
    let set = || json!({"$set": {"a": 2}});
    let none = || json!({"_id": {"$in": []}});
    let c = collection;
    let all = |result: pongo::Result<Vec<Value>>| result.map(drop);
    vec![
        ("insert_one", c().insert_one(&document()).map(drop)),
        (
            "insert_many",
            c().insert_many(&[document(), json!({})]).map(drop),
        ),
        ("upsert_one", c().upsert_one(&document()).map(drop)),
        (
            "upsert_many",
            c().upsert_many(&[document(), json!({})]).map(drop),
        ),
        ("replace_one", c().replace_one(id(), &document()).map(drop)),
        (
            "replace_many",
            c().replace_many([Replacement::new("1", &document())])
                .map(drop),
        ),
        ("update_one", c().update_one(id(), set()).map(drop)),
        (
            "update_one of any",
            c().update_one(json!({}), set()).map(drop),
        ),
        ("update_many", c().update_many(json!({}), set()).map(drop)),
        ("delete_one", c().delete_one(id()).map(drop)),
        ("delete_many", c().delete_many(json!({})).map(drop)),
        (
            "find_one_and_delete",
            c().find_one_and_delete(json!({})).map(drop),
        ),
        ("handle", c().handle("1", |_| Ok(None)).map(drop)),
        (
            "handle_many",
            c().handle_many(["1", "2"], |_, _| Ok(None)).map(drop),
        ),
        ("count_documents", c().count_documents(json!({})).map(drop)),
        ("exists", c().exists(json!({"a": 1})).map(drop)),
        ("distinct", c().distinct::<Value>("a", json!({})).map(drop)),
        ("find_by_id", c().find_by_id("1").map(drop)),
        ("find_one", c().find_one(json!({"a": 1})).map(drop)),
        ("find", all(c().find(json!({})).to_vec())),
        ("find nothing", all(c().find(none()).to_vec())),
        (
            "find sorted",
            all(c().find(json!({})).sort(json!({"a": 1})).limit(3).to_vec()),
        ),
        ("page", c().find(json!({})).page(2).map(drop)),
        ("create", c().create().map(drop)),
        ("rename", c().rename("other").map(drop)),
        ("drop", c().drop().map(drop)),
        ("indexes", c().indexes().map(drop)),
        (
            "create_index",
            c().create_index(&Index::field("a")).map(drop),
        ),
        (
            "concurrently",
            c().create_index(&Index::field("a").concurrently())
                .map(drop),
        ),
        ("drop_index", c().drop_index("things_a_idx").map(drop)),
    ]
}

#[track_caller]
fn assert_each_unknown(name: &str, collection: &dyn Fn() -> Collection<'static, Value>) {
    for (operation, result) in operations(collection) {
        assert!(
            matches!(&result, Err(pongo::Error::UnknownTenant { tenant, .. }) if tenant == name),
            "{operation}: {result:?}"
        );
    }
}

/// The tables that are not the library's.
fn tables(database: &emmett_postgresql::testing::Database) -> anyhow::Result<i64> {
    let row = database.client()?.query_one(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname !~ '^emt_'",
        &[],
    )?;
    Ok(row.get(0))
}

#[test]
fn documents_of_a_tenant_that_nobody_added_are_neither_written_nor_read() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.tenants().add("a-b")?;
    let client = PongoClient::connect(database.url())?;

    for name in ["nope", "a_b"] {
        let (tenant, alone) = (store.tenant(name)?, client.tenant(name)?);
        // First where the collection has no table yet, then where it has.
        for round in 0..2 {
            assert_each_unknown(name, &|| tenant.collection("things"));
            assert_each_unknown(name, &|| alone.collection("things"));
            if round == 0 {
                assert_eq!(tables(&database)?, 0, "{name}");
                // From now on, both know that it is there and do not create it again.
                for things in [
                    store.collection::<Value>("things"),
                    client.collection("things"),
                ] {
                    things.count_documents(json!({}))?;
                }
            }
        }
        assert!(store.collection::<Value>("things").drop()?);
    }

    store.tenants().add("nope")?;
    let things = store.tenant("nope")?.collection::<Value>("things");
    assert_eq!(things.count_documents(json!({}))?, 0);
    Ok(())
}

#[test]
fn a_session_and_a_transaction_of_an_unknown_tenant_are_refused() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let client = PongoClient::connect(database.url())?.tenant("nope")?;
    store.collection::<Value>("things").create()?;
    let tenant = store.tenant("nope")?;

    let in_session = tenant.with_session(|session| {
        session.collection("things").insert_one(&json!({}))?;
        Ok(())
    });
    let read_in_session = tenant.with_session(|session| {
        Ok(session
            .collection::<Value>("things")
            .find(json!({}))
            .to_vec()?)
    });
    let in_transaction = client.with_transaction(|transaction| {
        transaction.collection("new").insert_one(&json!({}))?;
        Ok(())
    });

    for refused in [
        in_session.err(),
        read_in_session.err(),
        in_transaction.err().map(Error::from),
    ] {
        assert!(
            matches!(&refused, Some(Error::UnknownTenant { tenant, .. }) if tenant == "nope"),
            "{refused:?}"
        );
    }
    assert_eq!(tables(&database)?, 1);
    Ok(())
}

#[test]
fn a_client_without_an_event_store_needs_no_tenants_added_until_there_is_one() -> anyhow::Result<()>
{
    let database = Server::shared()?.create_database()?;
    let client = PongoClient::connect(database.url())?.tenant("acme")?;
    let things = client.collection::<Value>("things");
    things.insert_one(&json!({"_id": "1"}))?;

    let store = EventStore::open(database.url())?;
    let hidden = things.count_documents(json!({}));
    store.tenants().add("acme")?;

    assert!(
        matches!(hidden, Err(pongo::Error::UnknownTenant { .. })),
        "{hidden:?}"
    );
    assert_eq!(things.count_documents(json!({}))?, 1);
    Ok(())
}

fn documents(database: &emmett_postgresql::testing::Database) -> anyhow::Result<i64> {
    let row = database.client()?.query_one(
        "SELECT count(*) FROM things WHERE _partition = 'leaving'",
        &[],
    )?;
    Ok(row.get(0))
}

/// A store with a tenant that is about to leave, and a collection.
fn leaving() -> anyhow::Result<(emmett_postgresql::testing::Database, EventStore, EventStore)> {
    let (database, store) = store()?;
    store.tenants().add("leaving")?;
    store.collection::<Value>("things").create()?;
    let leaving = store.tenant("leaving")?;
    Ok((database, store, leaving))
}

#[test]
fn a_removal_waits_for_who_writes_documents_and_leaves_none() -> anyhow::Result<()> {
    let (database, _store, leaving) = leaving()?;
    let mut client = database.client()?;

    let mut open = leaving.begin()?;
    open.collection("things")
        .insert_one(&json!({"_id": "early"}))?;
    client.batch_execute("SET lock_timeout = '100ms'")?;
    let early = client.execute("SELECT emt_partition_drop('leaving')", &[]);
    // It can still append: a removal that waits holds nothing that this needs.
    open.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    open.commit()?;
    let mut removal = client.transaction()?;
    removal.execute("SELECT emt_partition_drop('leaving')", &[])?;
    let late = leaving
        .collection("things")
        .insert_one(&json!({"_id": "late"}));
    removal.commit()?;

    let early = early.expect_err("a transaction has written a document");
    assert_eq!(
        early.code(),
        Some(&postgres::error::SqlState::LOCK_NOT_AVAILABLE)
    );
    assert!(
        matches!(late, Err(pongo::Error::UnknownTenant { .. })),
        "{late:?}"
    );
    assert_eq!(documents(&database)?, 0);
    Ok(())
}

#[test]
fn a_snapshot_from_before_the_removal_writes_no_document() -> anyhow::Result<()> {
    for level in [IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
        let (database, store, leaving) = leaving()?;
        let mut client = database.client()?;

        let mut transaction = client.build_transaction().isolation_level(level).start()?;
        transaction.query_one("SELECT count(*) FROM emt_partitions", &[])?;
        store.tenants().remove("leaving")?.with_all_data()?;
        let refused = leaving.in_transaction(&mut transaction, |session| {
            Ok(session.collection("things").insert_one(&json!({}))?)
        });
        transaction.rollback()?;

        let error = refused.expect_err("the snapshot still shows the tenant");
        assert!(error.is_retryable(), "{error:?}");
        assert_eq!(documents(&database)?, 0);
    }
    Ok(())
}

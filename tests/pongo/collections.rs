//! Creating, dropping and renaming collections, under any name.

use super::client::{client, exists};
use crate::support::store;
use emmett_postgresql::pongo::{Collection, Error, Index, PongoClient, PongoTransaction};
use emmett_postgresql::{
    DocumentProjection, EventStore, RawEvent, Recorded, database::AutoMigration,
};
use serde_json::{Value, json};

fn count(collection: &Collection<'_, Value>) -> anyhow::Result<u64> {
    Ok(collection.count_documents(json!({}))?)
}

#[test]
fn a_collection_is_created_and_dropped_once_and_can_be_used_again() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let users = || client.collection::<Value>("users");

    assert!(users().create()?);
    assert!(!users().create()?);
    users().insert_one(&json!({"_id": "1"}))?;
    assert!(users().drop()?);
    assert!(!exists(&database, "users")?);
    assert!(!users().drop()?);

    assert_eq!(count(&users())?, 0);
    users().insert_one(&json!({"_id": "1"}))?;
    assert_eq!(count(&users())?, 1);
    assert!(!client.collection::<Value>("never seen").drop()?);
    Ok(())
}

#[test]
fn a_renamed_collection_keeps_its_documents_and_frees_its_name() -> anyhow::Result<()> {
    let (_database, client) = client()?;
    let old = client.collection::<Value>("old");
    old.insert_one(&json!({"_id": "1"}))?;
    client
        .tenant("acme")?
        .collection("old")
        .insert_one(&json!({"_id": "2"}))?;

    let new = old.rename("new")?;

    assert_eq!((new.name(), count(&new)?), ("new", 1));
    let acme = client.tenant("acme")?.collection::<Value>("new");
    assert_eq!(count(&acme)?, 1);
    let old = client.collection::<Value>("old");
    assert_eq!(count(&old)?, 0);
    old.insert_one(&json!({"_id": "1"}))?;
    assert!(old.drop()?);
    assert_eq!(count(&new)?, 1);
    // And back again.
    assert_eq!(count(&new.rename("old")?)?, 1);
    Ok(())
}

#[test]
fn a_name_that_is_taken_is_not_overwritten() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let one = || client.collection::<Value>("one");
    one().insert_one(&json!({}))?;
    client.collection::<Value>("two").create()?;
    database
        .client()?
        .batch_execute("CREATE VIEW three AS SELECT 1 AS a")?;

    for taken in ["two", "three", "one"] {
        let refused = one().rename(taken).expect_err("the name is taken");
        let expected = format!("collection \"one\" cannot be renamed to \"{taken}\"");
        assert!(refused.to_string().contains(&expected), "{refused}");
    }
    let missing = client.collection::<Value>("four").rename("five");

    assert!(
        matches!(&missing, Err(Error::UnknownCollection { collection, .. }) if collection == "four"),
        "{missing:?}"
    );
    assert_eq!(count(&one())?, 1);
    Ok(())
}

#[test]
fn in_a_transaction_all_of_that_is_committed_or_not() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let a = client.collection::<Value>("a");
    a.insert_one(&json!({"_id": "1"}))?;

    let failed = client.with_transaction(|transaction| -> anyhow::Result<()> {
        assert!(transaction.collection::<Value>("b").create()?);
        transaction.collection::<Value>("a").rename("c")?;
        assert!(transaction.collection::<Value>("c").drop()?);
        assert_eq!(count(&transaction.collection("a"))?, 0);
        anyhow::bail!("changed my mind")
    });
    assert!(failed.is_err());
    assert_eq!(count(&a)?, 1);
    assert!(!exists(&database, "b")?);

    client.with_transaction(|transaction| {
        let again = |transaction: &mut PongoTransaction<'_>| {
            transaction.collection("d").insert_one(&json!({}))
        };
        again(transaction)?;
        assert!(transaction.collection::<Value>("d").drop()?);
        again(transaction)?;
        transaction.collection::<Value>("a").rename("c")?;
        transaction
            .collection("a")
            .insert_one(&json!({"_id": "2"}))?;
        Ok(())
    })?;
    assert_eq!(count(&client.collection("c"))?, 1);
    assert_eq!(count(&a)?, 1);
    let refused = client.with_transaction(|transaction| {
        let refused = transaction.collection::<Value>("a").rename("c").is_err();
        // A refusal does not spoil the transaction.
        Ok((refused, count(&transaction.collection("a"))?))
    })?;
    assert_eq!(refused, (true, 1));
    Ok(())
}

#[test]
fn any_name_will_do() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let longest = "x".repeat(63);
    for name in [
        "a \"quoted\" name",
        "it's",
        "dots.and.more",
        "Upper Case",
        "select",
        "таблица",
        "🛒",
        "{table}",
        "$1",
        "%I",
        "a;b--",
        "back\\slash",
        "_id",
        longest.as_str(),
    ] {
        let collection = client.collection::<Value>(name);
        collection.insert_one(&json!({"_id": "1", "a": 1}))?;
        assert!(collection.create_index(&Index::field("a"))?, "{name}");
        assert!(!collection.create_index(&Index::field("a"))?, "{name}");
        assert_eq!(
            collection.find_one(json!({"a": 1}))?.unwrap_or_default()["_id"],
            "1"
        );
        assert!(exists(&database, name)?, "{name}");
        let renamed = collection.rename("renamed")?;
        let renamed = renamed.rename(name)?;
        assert_eq!(count(&renamed)?, 1, "{name}");
        assert!(renamed.drop()?, "{name}");
    }
    Ok(())
}

#[test]
fn a_name_that_no_collection_can_have_is_refused() -> anyhow::Result<()> {
    let (_database, client) = client()?;
    for name in ["", "emt_streams", "emt_", "a\0b", &"ü".repeat(32)] {
        for refused in [
            client.collection::<Value>(name).create().err(),
            client.collection(name).insert_one(&json!({})).err(),
            client.collection::<Value>(name).drop().err(),
            client.collection::<Value>("a").rename(name).err(),
        ] {
            assert!(
                matches!(refused, Some(Error::InvalidInput { .. })),
                "{name}: {refused:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn the_read_model_of_a_projection_is_neither_dropped_nor_renamed() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let counts =
        DocumentProjection::single_stream("counts", |_: Option<Value>, _: &Recorded<RawEvent>| {
            Some(json!({}))
        });
    let store = EventStore::builder(database.url())
        .inline_projection(counts)
        .open()?;
    let client = PongoClient::connect(database.url())?;

    for refused in [
        store.collection::<Value>("counts").drop().err(),
        client.collection::<Value>("counts").rename("other").err(),
    ] {
        let refused = refused.expect("a projection keeps it");
        assert!(matches!(&refused, Error::ReadModel { .. }), "{refused:?}");
        assert!(
            refused
                .to_string()
                .contains("the read model of projection \"counts\""),
            "{refused}"
        );
    }
    assert!(exists(&database, "counts")?);
    Ok(())
}

#[test]
fn without_migration_a_collection_can_be_created_by_hand() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let client = PongoClient::builder(database.url())
        .auto_migration(AutoMigration::None)
        .connect()?;
    let users = client.collection::<Value>("users");

    assert!(users.create()?);
    users.insert_one(&json!({}))?;

    assert_eq!(count(&users)?, 1);
    Ok(())
}

#[test]
fn twenty_that_create_a_collection_at_once_make_one() -> anyhow::Result<()> {
    let (_database, client) = client()?;

    let created = std::thread::scope(|scope| {
        let create = || client.collection::<Value>("users").create();
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(create)).collect();
        let created = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        created.collect::<Result<Vec<bool>, _>>()
    })?;

    assert_eq!(created.iter().filter(|created| **created).count(), 1);
    Ok(())
}

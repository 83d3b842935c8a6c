//! Indexes: declared and by hand, unique, built during writes.

use super::client::client;
use crate::support::{store, wait_until};
use emmett_postgresql::pongo::{
    Collection, CollectionDefinition, Error, Index, IndexDescription, PongoClient,
};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{
    ConnectionOptions, DocumentProjection, EventStore, RawEvent, Recorded,
    database::{AutoMigration, DatabaseError},
    error::ProjectionError,
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

fn names(collection: &Collection<'_, Value>) -> anyhow::Result<Vec<String>> {
    let indexes = collection.indexes()?;
    Ok(indexes.into_iter().map(|index| index.name).collect())
}

fn only(collection: &Collection<'_, Value>) -> anyhow::Result<IndexDescription> {
    let mut indexes = collection.indexes()?;
    assert_eq!(indexes.len(), 1, "{indexes:?}");
    Ok(indexes.remove(0))
}

fn carts() -> CollectionDefinition {
    CollectionDefinition::new("carts")
        .index(Index::field("customerId"))
        .index(Index::fields(["status", "total"]).named("by status"))
        .index(Index::unique("number").sparse())
        .index(Index::whole_document().concurrently())
}

pub(super) fn declared(
    definition: CollectionDefinition,
) -> anyhow::Result<(Database, PongoClient)> {
    let database = Server::shared()?.create_database()?;
    let client = PongoClient::builder(database.url())
        .collection(definition)
        .connect()?;
    Ok((database, client))
}

const ITEMS: [&str; 5] = [
    "collection carts",
    "index carts_customer_id_idx",
    "index by status",
    "index carts_number_key",
    "index carts_document_idx",
];

#[test]
fn declared_collections_are_a_part_of_the_migration() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let builder = || PongoClient::builder(database.url()).collection(carts());
    let none = || builder().auto_migration(AutoMigration::None).connect();

    assert!(matches!(
        none(),
        Err(Error::Database(DatabaseError::Schema { .. }))
    ));
    let unopened = builder().connect_unchecked()?;
    let dry_run = unopened.schema().dry_run()?;
    assert_eq!(dry_run.applied[0], "documents");
    assert_eq!(dry_run.applied[1..], ITEMS);
    assert!(
        PongoClient::connect(database.url())?
            .collection::<Value>("other")
            .create()?
    );
    let refused = none().expect_err("the collection is missing").to_string();
    for item in ITEMS {
        assert!(refused.contains(item), "{refused}");
    }

    let report = unopened.schema().migrate()?;
    assert_eq!(report.applied, ITEMS);
    let again = builder().connect()?.schema().migrate()?;
    assert_eq!(
        (again.applied.len(), again.skipped[1..].len()),
        (0, ITEMS.len())
    );
    let carts = none()?.collection::<Value>("carts");
    assert_eq!(
        names(&carts)?,
        [
            "by status",
            "carts_customer_id_idx",
            "carts_document_idx",
            "carts_number_key"
        ]
    );
    let number = &carts.indexes()?[3];
    assert_eq!(number.fields, ["number"]);
    assert!(number.unique && number.valid, "{number:?}");

    assert!(carts.drop_index("by status")?);
    assert!(!carts.drop_index("by status")?);
    let refused = none().expect_err("an index is missing").to_string();
    assert!(refused.starts_with("index by status missing"), "{refused}");
    builder().connect()?;
    assert_eq!(names(&carts)?.len(), 4);
    Ok(())
}

#[test]
fn the_printed_sql_creates_what_opening_would() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let strange = CollectionDefinition::new("it's \\ \"strange\"").index(Index::field("it's \\ a"));
    let builder = || {
        EventStore::builder(database.url())
            .collection(carts())
            .collection(strange.clone())
    };
    let sql = builder().open_unchecked()?.schema().sql();

    for _ in 0..2 {
        database.client()?.batch_execute(&sql)?;
    }

    let store = builder().auto_migration(AutoMigration::None).open()?;
    let report = store.schema().migrate()?;
    assert!(report.applied.is_empty(), "{report:?}");
    Ok(())
}

#[test]
fn twenty_that_open_at_once_create_each_index_once() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let definition = || {
        carts()
            .index(Index::field("a").concurrently())
            .index(Index::field("b").concurrently())
    };

    std::thread::scope(|scope| {
        let open = || {
            PongoClient::builder(database.url())
                .connection_options(ConnectionOptions::new().pool_size(2))
                .collection(definition())
                .connect()
        };
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(open)).collect();
        let opened = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        opened.collect::<Result<Vec<_>, _>>()
    })?;

    let client = PongoClient::connect(database.url())?;
    let indexes = client.collection::<Value>("carts").indexes()?;
    assert_eq!(indexes.len(), 6);
    assert!(indexes.iter().all(|index| index.valid), "{indexes:?}");
    Ok(())
}

#[test]
fn twenty_that_create_an_index_at_once_make_one() -> anyhow::Result<()> {
    let (_database, client) = client()?;
    let carts = client.collection::<Value>("carts");
    carts.create()?;

    let created = std::thread::scope(|scope| {
        let create = || carts.create_index(&Index::field("a"));
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(create)).collect();
        let created = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        created.collect::<Result<Vec<_>, _>>()
    })?;

    assert_eq!(created.iter().filter(|created| **created).count(), 1);
    assert_eq!(names(&carts)?, ["carts_a_idx"]);
    Ok(())
}

#[test]
fn a_read_model_gets_indexes_and_projections_create_its_documents() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let projection = || {
        DocumentProjection::single_stream(
            "accounts",
            |account: Option<Value>, recorded: &Recorded<RawEvent>| {
                let mut account = account.unwrap_or_else(|| json!({}));
                account["email"] = recorded.event.data["email"].clone();
                Some(account)
            },
        )
    };
    let accounts = CollectionDefinition::new("accounts").index(Index::unique("email"));
    let store = EventStore::builder(database.url())
        .inline_projection(projection())
        .collection(accounts)
        .open()?;
    let separator = if database.url().contains('?') {
        '&'
    } else {
        '?'
    };
    let url = format!(
        "{}{separator}options=-c%20lock_timeout%3D5s",
        database.url()
    );
    let impatient = EventStore::builder(&url)
        .inline_projection(projection())
        .open()?;
    let set = |email: &str| RawEvent::new("EmailSet", json!({"email": email}));

    // Both are locked by a placeholder without an email at the same moment.
    store.with_session(|session| {
        session.append_to_stream("Account-1", &[set("a")])?;
        let other = std::thread::scope(|scope| {
            let append = || impatient.append_to_stream("Account-2", &[set("b")]);
            scope.spawn(append).join().expect("no panic")
        });
        assert!(other.is_ok(), "{other:?}");
        Ok(())
    })?;
    let taken = store.append_to_stream("Account-3", &[set("a")]);

    let Err(emmett_postgresql::Error::Projection(ProjectionError::Failed { source, .. })) = &taken
    else {
        panic!("the address is taken: {taken:?}");
    };
    assert!(
        matches!(source.downcast_ref(), Some(Error::NotUnique { index, .. }) if index == "accounts_email_key"),
        "{source:?}"
    );
    assert!(!store.stream_exists("Account-3")?);
    store.rebuild("accounts").run()?;
    let found = store.collection::<Value>("accounts");
    assert_eq!(found.count_documents(json!({"email": "a"}))?, 1);
    assert_eq!(only(&found)?.name, "accounts_email_key");
    Ok(())
}

#[test]
fn a_unique_index_refuses_equal_values_of_one_tenant() -> anyhow::Result<()> {
    let (_database, client) = client()?;
    let users = client.collection::<Value>("users");
    assert!(users.create_index(&Index::unique("email"))?);
    users.insert_many(&[
        json!({"_id": "1", "email": "(_id, _partition)=(1, emt:default)"}),
        json!({"_id": "2"}),
    ])?;
    client
        .tenant("acme")?
        .collection("users")
        .insert_one(&json!({"email": "(_id, _partition)=(1, emt:default)"}))?;

    let taken = json!({"email": "(_id, _partition)=(1, emt:default)"});
    for refused in [
        users.insert_one(&taken).err(),
        users
            .update_one(json!({"_id": "2"}), json!({"$set": taken}))
            .err(),
        // Missing is null, and so is null.
        users.insert_one(&json!({"email": null})).err(),
        users.insert_one(&json!({"name": "no email"})).err(),
    ] {
        let refused = refused.expect("the value is taken");
        assert!(
            matches!(&refused, Error::NotUnique { collection, index, .. }
                if collection == "users" && index == "users_email_key"),
            "{refused:?}"
        );
    }
    let same_id = users.insert_one(&json!({"_id": "1", "email": "c"}));
    assert!(
        matches!(&same_id, Err(Error::Exists { id, .. }) if id == "1"),
        "{same_id:?}"
    );
    // 1 and 1.0 are equal, 1 and "1" are not.
    users.insert_one(&json!({"email": 1}))?;
    users.insert_one(&json!({"email": "1"}))?;
    assert!(users.insert_one(&json!({"email": 1.0})).is_err());
    Ok(())
}

#[test]
fn a_sparse_unique_index_leaves_out_documents_without_the_field() -> anyhow::Result<()> {
    let (_database, client) = client()?;
    let users = client.collection::<Value>("users");
    users.create_index(&Index::unique("address.mail").sparse())?;

    users.insert_many(&[json!({"a": 1}), json!({"a": 2}), json!({"address": {}})])?;
    users.insert_one(&json!({"address": {"mail": null}}))?;
    let second = users.insert_one(&json!({"address": {"mail": null}}));

    assert!(matches!(second, Err(Error::NotUnique { .. })), "{second:?}");
    Ok(())
}

#[test]
fn a_unique_index_on_equal_values_is_not_created_and_leaves_nothing() -> anyhow::Result<()> {
    let (_database, client) = client()?;
    let users = client.collection::<Value>("users");
    users.insert_many(&[json!({"a": 1}), json!({"a": 1})])?;

    for index in [Index::unique("a"), Index::unique("a").concurrently()] {
        let refused = users.create_index(&index);
        assert!(
            matches!(&refused, Err(Error::NotUnique { index, .. }) if index == "users_a_key"),
            "{refused:?}"
        );
        assert!(names(&users)?.is_empty());
    }
    users.insert_one(&json!({"a": 1}))?;
    Ok(())
}

#[test]
fn something_else_of_the_same_name_is_not_taken_for_the_index() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let carts = client.collection::<Value>("carts");
    carts.create_index(&Index::field("a").named("x"))?;
    database.client()?.batch_execute(
        "CREATE INDEX by_hand ON carts (_created); CREATE TABLE y (a INTEGER); CREATE INDEX z ON y (a)",
    )?;

    for (index, reason) in [
        (Index::field("b").named("x"), "it is on a, not on b"),
        (
            Index::unique("a").named("x"),
            "it is on a, not unique, on a",
        ),
        (
            Index::whole_document().named("x"),
            "it is on a, not on the whole document",
        ),
        (
            Index::field("a").named("by_hand"),
            "this library has not created it",
        ),
        (
            Index::field("a").named("y"),
            "there is a table or view of that name",
        ),
        (
            Index::field("a").named("z"),
            "table \"y\" has an index of that name",
        ),
    ] {
        for index in [index.clone(), index.concurrently()] {
            let refused = carts.create_index(&index);
            assert!(
                matches!(&refused, Err(Error::IndexMismatch { reason: found, .. }) if found == reason),
                "{refused:?}"
            );
        }
    }
    assert!(!carts.create_index(&Index::field("a").named("x"))?);
    let declaring = PongoClient::builder(database.url())
        .collection(CollectionDefinition::new("carts").index(Index::field("b").named("x")));
    assert!(matches!(
        declaring.connect(),
        Err(Error::IndexMismatch { .. })
    ));
    assert!(!carts.drop_index("z")?);
    assert!(carts.drop_index("carts_pkey").is_err());
    assert!(carts.drop_index("by_hand")?);
    Ok(())
}

#[test]
fn a_renamed_collection_takes_its_indexes_along() -> anyhow::Result<()> {
    let (_database, client) = client()?;
    let old = client.collection::<Value>("old");
    let indexes = [
        Index::field("a"),
        Index::unique("b"),
        Index::field("c").named("own"),
    ];
    for index in &indexes {
        old.create_index(index)?;
    }

    let new = old.rename("new")?;

    assert_eq!(names(&new)?, ["new_a_idx", "new_b_key", "own"]);
    for index in &indexes {
        assert!(!new.create_index(index)?);
    }
    let old = client.collection::<Value>("old");
    for index in &indexes[..2] {
        assert!(old.create_index(index)?);
    }
    assert_eq!(names(&old)?, ["old_a_idx", "old_b_key"]);
    Ok(())
}

/// Holds a transaction open that has written to a collection, as a build would have to wait for.
struct OpenWriter(postgres::Client);

impl OpenWriter {
    fn hold(database: &Database) -> anyhow::Result<Self> {
        let mut client = database.client()?;
        client.batch_execute(
            "BEGIN; INSERT INTO carts (_id, data) VALUES ('open', '{\"_id\": \"open\", \"a\": 0}')",
        )?;
        Ok(Self(client))
    }
}

/// Waits until a build waits for an open transaction.
fn wait_for_build(database: &Database) -> anyhow::Result<()> {
    let mut client = database.client()?;
    let waiting = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'CREATE INDEX CONCURRENTLY%'";
    wait_until("the build waits for the open transaction", || {
        client
            .query_one(waiting, &[])
            .is_ok_and(|row| row.get::<_, i64>(0) > 0)
    });
    Ok(())
}

#[test]
fn a_concurrent_build_lets_others_write() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let carts = client.collection::<Value>("carts");
    carts.create()?;
    let mut open = OpenWriter::hold(&database)?;
    let finished = AtomicBool::new(false);

    let created = std::thread::scope(|scope| {
        let build = scope.spawn(|| {
            let created = carts.create_index(&Index::field("a").concurrently());
            finished.store(true, Ordering::SeqCst);
            created
        });
        wait_for_build(&database)?;
        for number in 1..=10 {
            carts.insert_one(&json!({"a": number}))?;
        }
        assert!(
            !finished.load(Ordering::SeqCst),
            "it waits for the open one"
        );
        open.0.batch_execute("COMMIT")?;
        Ok::<_, anyhow::Error>(build.join().expect("no panic")?)
    })?;

    assert!(created);
    assert!(only(&carts)?.valid);
    assert_eq!(carts.count_documents(json!({"a": {"$gte": 0}}))?, 11);
    assert!(!carts.create_index(&Index::field("a"))?, "it is the same");
    Ok(())
}

#[test]
fn what_a_build_that_was_killed_has_left_is_built_anew() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let carts = client.collection::<Value>("carts");
    carts.create()?;
    let index = || Index::field("a").concurrently();
    for again in [index(), Index::field("a")] {
        let mut open = OpenWriter::hold(&database)?;
        let killed = std::thread::scope(|scope| {
            let build = scope.spawn(|| carts.create_index(&index()));
            wait_for_build(&database)?;
            open.0.batch_execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONCURRENTLY%'",
            )?;
            open.0.batch_execute("ROLLBACK")?;
            Ok::<_, anyhow::Error>(build.join().expect("no panic"))
        })?;
        assert!(killed.is_err(), "{killed:?}");
        // The process would have removed it; a server that is killed cannot.
        invalidate(&database, "carts_a_idx")?;
        assert!(!only(&carts)?.valid);
        let declaring = PongoClient::builder(database.url())
            .collection(CollectionDefinition::new("carts").index(again))
            .connect_unchecked()?;
        assert_eq!(declaring.schema().dry_run()?.applied, ["index carts_a_idx"]);

        declaring.schema().migrate()?;

        assert!(only(&carts)?.valid);
        assert!(carts.drop_index("carts_a_idx")?);
    }
    Ok(())
}

/// Leaves an index as a build that was interrupted does.
fn invalidate(database: &Database, index: &str) -> anyhow::Result<()> {
    let create = format!("CREATE INDEX IF NOT EXISTS {index} ON carts (_created)");
    let mut client = database.client()?;
    client.batch_execute(&create)?;
    client.execute(
        "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = to_regclass($1)",
        &[&index],
    )?;
    Ok(())
}

#[test]
fn two_that_find_the_same_leftover_end_with_one_index() -> anyhow::Result<()> {
    let (database, client) = client()?;
    let carts = client.collection::<Value>("carts");
    carts.create()?;
    invalidate(&database, "carts_a_idx")?;

    let created = std::thread::scope(|scope| {
        let build = || carts.create_index(&Index::field("a").concurrently());
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(build)).collect();
        let created = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        created.collect::<Result<Vec<bool>, _>>()
    })?;

    assert!(created.contains(&true));
    let index = only(&carts)?;
    assert!(index.valid && index.fields == ["a"], "{index:?}");
    Ok(())
}

#[test]
fn inside_a_transaction_an_index_is_committed_with_it_and_not_concurrently() -> anyhow::Result<()> {
    let (_database, client) = client()?;

    let refused = client.with_transaction(|transaction| {
        let carts = transaction.collection::<Value>("carts");
        Ok(carts.create_index(&Index::field("a").concurrently())?)
    });
    assert!(
        matches!(refused, Err(Error::InvalidInput { .. })),
        "{refused:?}"
    );
    let failed = client.with_transaction(|transaction| -> anyhow::Result<()> {
        let carts = transaction.collection::<Value>("carts");
        assert!(carts.create_index(&Index::field("a"))?);
        anyhow::bail!("changed my mind")
    });
    assert!(failed.is_err());
    let carts = client.collection::<Value>("carts");
    assert!(names(&carts)?.is_empty());
    Ok(())
}

#[test]
fn an_index_that_makes_no_sense_is_refused_before_anything_is_sent() -> anyhow::Result<()> {
    let (_database, client) = client()?;
    let carts = client.collection::<Value>("carts");
    let long = client.collection::<Value>(&"x".repeat(64));

    for (refused, expected) in [
        (
            carts.create_index(&Index::fields(Vec::<String>::new())),
            "an index of \"carts\": needs a field",
        ),
        (
            carts.create_index(&Index::unique_fields(Vec::<String>::new())),
            "an index of \"carts\": needs a field",
        ),
        (
            carts.create_index(&Index::field("")),
            "the field \"\" of an index: it has an empty name",
        ),
        (
            carts.create_index(&Index::fields(["a", "b..c"])),
            "the field \"b..c\" of an index: it has an empty name",
        ),
        (
            long.create_index(&Index::field("a")),
            "must have 1 to 63 bytes, has 64",
        ),
        (
            long.create_index(&Index::field("a").concurrently()),
            "must have 1 to 63 bytes, has 64",
        ),
        (long.drop_index("a"), "must have 1 to 63 bytes, has 64"),
        (
            long.indexes().map(|_| false),
            "must have 1 to 63 bytes, has 64",
        ),
        (
            carts.drop_index("a\0"),
            "the index name \"a\\0\": must not contain control characters",
        ),
    ] {
        assert!(
            matches!(&refused, Err(error @ Error::InvalidInput { .. }) if error.to_string().ends_with(expected)),
            "{refused:?} is not: {expected}"
        );
    }
    assert!(names(&carts)?.is_empty());
    Ok(())
}

#[test]
fn hostile_names_of_fields_are_indexed_as_they_are() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let carts = store.collection::<Value>("it's \"a\" cart; --");
    for name in [
        "it's",
        "\"q\"",
        "a\\b",
        "); DROP TABLE x; --",
        "größe 😀",
        "$$",
    ] {
        let path = format!("outer.{name}");
        if name.starts_with('$') {
            assert!(carts.create_index(&Index::field(path)).is_err());
            continue;
        }
        assert!(carts.create_index(&Index::field(&path))?, "{name}");
        carts.insert_one(&json!({"outer": {name: name}}))?;
        assert_eq!(carts.count_documents(json!({path: name}))?, 1, "{name}");
    }
    Ok(())
}

#[test]
fn a_unique_index_refuses_by_name_whatever_writes() -> anyhow::Result<()> {
    let definition = CollectionDefinition::new("users")
        .index(Index::unique("email").named("one_email"))
        .index(Index::unique_fields(["a", "b"]).sparse());
    let (_database, client) = declared(definition)?;
    let users = client.collection::<Value>("users");
    users.insert_one(&json!({"_id": "1", "email": "x"}))?;
    users.insert_one(&json!({"_id": "2", "email": "y"}))?;
    users.insert_one(&json!({"_id": "3"}))?;
    let refused = [
        users.insert_one(&json!({"email": "x"})).map(|_| ()),
        users
            .insert_many(&[json!({"email": "z"}), json!({"email": "y"})])
            .map(|_| ()),
        users.insert_one(&json!({})).map(|_| ()),
        users
            .update_one(json!({"_id": "2"}), json!({"$set": {"email": "x"}}))
            .map(|_| ()),
        users
            .replace_one(json!({"_id": "2"}), &json!({"email": "x"}))
            .map(|_| ()),
        users
            .upsert_one(&json!({"_id": "2", "email": "x"}))
            .map(|_| ()),
        users
            .handle("2", |_| Ok(Some(json!({"email": "x"}))))
            .map(|_| ()),
        users
            .update_one_with(
                json!({"_id": "9"}),
                json!({"$set": {"email": "x"}}),
                emmett_postgresql::pongo::UpdateOptions::new().upsert(),
            )
            .map(|_| ()),
    ];
    for (number, refused) in refused.into_iter().enumerate() {
        assert!(
            matches!(&refused, Err(Error::NotUnique { collection, index, .. })
                if collection == "users" && index == "one_email"),
            "{number}: {refused:?}"
        );
    }
    assert_eq!(users.count_documents(json!({}))?, 3);
    client
        .tenant("acme")?
        .collection::<Value>("users")
        .insert_one(&json!({"email": "x"}))?;
    Ok(())
}

#[test]
fn numbers_of_all_sizes_are_found_and_sorted_as_numbers() -> anyhow::Result<()> {
    let ascending = [
        json!(f64::MIN),
        json!(i64::MIN),
        json!(-1_000_000),
        json!(-1000.5),
        json!(-999),
        json!(-1.25),
        json!(-1),
        json!(-0.012),
        json!(-5e-324),
        json!(0),
        json!(5e-324),
        json!(1e-7),
        json!(0.1),
        json!(0.1 + 0.2),
        json!(1),
        json!(9),
        json!(10),
        json!(12_345.678_9),
        json!(9_007_199_254_740_993_i64),
        json!(u64::MAX),
        json!(1e300),
        json!(f64::MAX),
    ];
    let definition = CollectionDefinition::new("numbers").index(Index::field("value"));
    let (_database, client) = declared(definition)?;
    let numbers = client.collection::<Value>("numbers");
    let documents = ascending.iter().rev().map(|value| json!({"value": value}));
    numbers.insert_many(&documents.collect::<Vec<_>>())?;

    let sorted = numbers.find(json!({})).sort(json!({"value": 1})).to_vec()?;
    let sorted: Vec<&Value> = sorted.iter().map(|document| &document["value"]).collect();
    assert_eq!(sorted, ascending.iter().collect::<Vec<_>>());
    for (place, value) in ascending.iter().enumerate() {
        for (condition, expected) in [
            (json!(value), 1),
            (json!({"$in": [value, "x"]}), 1),
            (json!({"$lt": value}), place),
            (json!({"$lte": value}), place + 1),
            (json!({"$gte": value}), ascending.len() - place),
            (
                json!({"$gt": value, "$lt": 1e308}),
                ascending.len().saturating_sub(place + 2),
            ),
        ] {
            let found = numbers.count_documents(json!({"value": condition}))?;
            assert_eq!(found, expected as u64, "{condition}");
        }
    }
    Ok(())
}

#[test]
fn keys_of_numbers_are_in_the_order_of_the_numbers() -> anyhow::Result<()> {
    let (database, _client) = declared(CollectionDefinition::new("numbers"))?;
    let wrong = "
        SELECT count(*), count(*) FILTER (WHERE before_key COLLATE \"C\" >= key COLLATE \"C\")
          FROM (SELECT key, lag(key) OVER (ORDER BY number) AS before_key
                  FROM (SELECT number, emt_index_key(to_jsonb(number)) AS key
                          FROM (SELECT DISTINCT trim_scale(round((random() - 0.5)::NUMERIC, 1 + n % 15)
                                                           * ('1e' || n % 400 - 200)::NUMERIC) AS number
                                  FROM generate_series(1, 20000) AS n) AS numbers) AS keys) AS pairs";
    let mut client = postgres::Client::connect(database.url(), postgres::NoTls)?;
    let row = client.query_one(wrong, &[])?;
    assert!(row.get::<_, i64>(0) > 10_000);
    assert_eq!(row.get::<_, i64>(1), 0);
    Ok(())
}

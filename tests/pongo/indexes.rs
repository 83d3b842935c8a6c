//! Declared indexes: what is built, what serves a query, and what a unique one refuses.

use crate::support;
use emmett_postgresql::pongo::{Collection, CollectionDefinition, Index, PongoClient, field};
use emmett_postgresql::testing::{Database, Server};
use emmett_postgresql::{AutoMigration, Error, EventStore};
use serde_json::{Value, json};

fn client(definition: CollectionDefinition) -> anyhow::Result<(Database, PongoClient)> {
    let database = Server::shared()?.create_database()?;
    let client = PongoClient::builder(database.url())
        .collection(definition)
        .connect()?;
    Ok((database, client))
}

fn names(collection: &Collection<'_, Value>) -> anyhow::Result<Vec<String>> {
    Ok(collection
        .indexes()?
        .into_iter()
        .map(|index| index.name)
        .collect())
}

#[test]
fn declared_indexes_are_a_migration() -> anyhow::Result<()> {
    let definition = || {
        CollectionDefinition::new("carts")
            .index(Index::field("customer.id"))
            .index(Index::fields(["status", "total"]))
            .index(Index::unique("number").sparse())
            .index(Index::whole_document().named("everything"))
    };
    let database = Server::shared()?.create_database()?;
    let unopened = || {
        PongoClient::builder(database.url())
            .collection(definition())
            .auto_migration(AutoMigration::None)
    };
    assert!(matches!(unopened().connect(), Err(Error::Schema(_))));
    let client = unopened().connect_unchecked()?;
    let sql = client.schema().sql();
    assert!(
        sql.contains("everything") && sql.contains("jsonb_path_ops"),
        "{sql}"
    );
    let planned = client.schema().dry_run()?;
    assert_eq!(planned.applied.len(), 6, "{planned:?}");
    assert_eq!(client.schema().dry_run()?, planned, "nothing was changed");
    assert_eq!(client.schema().migrate()?.applied, planned.applied);
    assert_eq!(client.schema().migrate()?.applied, Vec::<String>::new());
    let carts = unopened().connect()?.collection::<Value>("carts");
    let indexes = carts.indexes()?;
    assert_eq!(indexes.len(), 4, "{indexes:?}");

    // The event store has them, too, and psql can apply what is printed.
    let second = Server::shared()?.create_database()?;
    postgres::Client::connect(second.url(), postgres::NoTls)?.batch_execute(&sql)?;
    let store = EventStore::builder(second.url())
        .collection(definition())
        .open()?;
    assert_eq!(names(&store.collection("carts"))?, names(&carts)?);
    Ok(())
}

#[test]
fn an_index_is_created_once_and_dropped() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let carts = store.collection::<Value>("carts");
    carts.insert_one(&json!({"a": 1}))?;
    let index = Index::field("a").named("by_a");
    assert!(carts.create_index(&index)?);
    assert!(!carts.create_index(&index)?);
    let other = carts.create_index(&Index::field("b").named("by_a"));
    assert!(
        matches!(other, Err(Error::IndexMismatch { .. })),
        "{other:?}"
    );
    assert_eq!(names(&carts)?, ["by_a"]);
    assert!(carts.drop_index("by_a")?);
    assert!(!carts.drop_index("by_a")?);
    for refused in [
        Index::field("$a"),
        Index::field("a").sparse(),
        Index::field("a..b"),
    ] {
        assert!(carts.create_index(&refused).is_err(), "{refused:?}");
    }
    assert_eq!(names(&carts)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn hostile_names_of_fields_are_indexed_as_they_are() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
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
    let (_database, client) = client(definition)?;
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
fn a_concurrent_build_goes_on_beside_writers_and_clears_what_failed() -> anyhow::Result<()> {
    let (database, store) = support::store()?;
    let carts = store.collection::<Value>("carts");
    carts.insert_many(&[json!({"_id": "1", "n": 1}), json!({"_id": "2", "n": 1})])?;
    let index = Index::unique("n").named("by_n").concurrently();
    let failed = carts.create_index(&index);
    assert!(matches!(failed, Err(Error::NotUnique { .. })), "{failed:?}");
    carts.delete_one(json!({"_id": "2"}))?;

    // An open transaction that has written keeps the build from its end, and writers are not kept from writing.
    let mut writer = postgres::Client::connect(database.url(), postgres::NoTls)?;
    let mut open = writer.transaction()?;
    open.execute("UPDATE carts SET metadata = '{}'", &[])?;
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let build = scope.spawn(|| store.collection::<Value>("carts").create_index(&index));
        let mut observer = postgres::Client::connect(database.url(), postgres::NoTls)?;
        support::wait_until("the build waits", || {
            let waiting = observer.query(
                "SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE UNIQUE INDEX CONCURRENTLY%'
                 AND wait_event_type = 'Lock'",
                &[],
            );
            waiting.is_ok_and(|rows| !rows.is_empty())
        });
        carts.insert_one(&json!({"_id": "3", "n": 3}))?;
        open.commit()?;
        assert!(build.join().expect("no panic")?);
        Ok(())
    })?;
    let indexes = carts.indexes()?;
    assert!(indexes[0].name == "by_n" && indexes[0].valid, "{indexes:?}");
    assert!(carts.insert_one(&json!({"n": 3})).is_err());
    Ok(())
}

#[test]
fn a_renamed_collection_frees_the_names_of_its_indexes() -> anyhow::Result<()> {
    let definition = || CollectionDefinition::new("carts").index(Index::field("a"));
    let (database, client) = client(definition())?;
    client.collection::<Value>("carts").rename("old_carts")?;
    let again = PongoClient::builder(database.url())
        .collection(definition())
        .connect()?;
    assert_eq!(names(&again.collection("carts"))?.len(), 1);
    assert_eq!(names(&again.collection("old_carts"))?.len(), 1);
    Ok(())
}

/// 100,000 documents of a tenant, and some of another.
const FILL: &str = "
    INSERT INTO orders (_id, data)
    SELECT 'order-' || n, jsonb_build_object(
               '_id', 'order-' || n, 'customer', jsonb_build_object('id', 'customer-' || n % 5000), 'total', n % 1000, 'size', n % 1000,
               'status', (ARRAY['open', 'paid', 'sent', 'done'])[n % 4 + 1], 'number', n, 'tags', jsonb_build_array('t' || n % 700))
      FROM generate_series(1, 100000) AS n;
    INSERT INTO orders (_id, _partition, data)
    SELECT 'order-' || n, 'acme', jsonb_build_object('_id', 'order-' || n, 'number', n) FROM generate_series(1, 1000) AS n;
    ANALYZE orders";

#[test]
fn with_100000_documents_the_declared_indexes_serve_the_queries() -> anyhow::Result<()> {
    let definition = CollectionDefinition::new("orders")
        .index(Index::field("customer.id").named("by_customer"))
        .index(Index::field("total").named("by_total"))
        .index(Index::fields(["status", "size"]).named("by_status_size"))
        .index(Index::unique("number").named("by_number"));
    let (database, client) = client(definition)?;
    postgres::Client::connect(database.url(), postgres::NoTls)?.batch_execute(FILL)?;
    let orders = client.collection::<Value>("orders");
    let plans = [
        (json!({"_id": "order-77"}), json!({}), "orders_pkey"),
        (
            json!({"customer.id": "customer-7"}),
            json!({}),
            "by_customer",
        ),
        (
            json!({"customer.id": {"$in": ["customer-7", "customer-8"]}}),
            json!({}),
            "by_customer",
        ),
        (json!({"number": 4711}), json!({}), "by_number"),
        (
            json!({"number": {"$gt": 4711, "$lt": 4720}}),
            json!({}),
            "by_number",
        ),
        (
            json!({"number": {"$gte": 99_990}}),
            json!({"number": 1}),
            "by_number",
        ),
        (json!({"total": 500}), json!({}), "by_total"),
        (
            json!({"status": "open", "size": {"$gte": 500, "$lt": 503}}),
            json!({}),
            "by_status_size",
        ),
        (json!({}), json!({"total": -1}), "by_total"),
        (json!({}), json!({"total": 1}), "by_total"),
        (
            json!({"total": {"$gte": 990}}),
            json!({"total": 1}),
            "by_total",
        ),
        (json!({}), json!({"status": 1, "size": 1}), "by_status_size"),
        (
            json!({"customer.id": {"$gte": "customer-4998"}}),
            json!({"customer.id": 1}),
            "by_customer",
        ),
    ];
    let mut differences = Vec::new();
    for (filter, sort, index) in plans {
        let mut find = orders.find(filter.clone());
        if sort != json!({}) {
            find = find.sort(sort.clone()).limit(20);
        }
        let plan = find.explain()?;
        if !plan.contains(index) || plan.contains("Seq Scan") {
            differences.push(format!("{filter} {sort}: not by {index}\n{plan}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));

    // A filter without an index of its own by one of the whole document.
    orders.create_index(&Index::whole_document().named("everything"))?;
    for filter in [
        json!({"tags": "t7"}),
        json!({"tags": {"$all": ["t7"]}}),
        json!({"tags": {"$in": ["t7", "t8"]}}),
    ] {
        let plan = orders.find(filter.clone()).explain()?;
        assert!(plan.contains("everything"), "{filter}\n{plan}");
    }

    // The answers are those of a look at all documents.
    assert_eq!(
        orders.count_documents(json!({"customer.id": "customer-7"}))?,
        20
    );
    assert_eq!(
        orders.count_documents(field("number").gt(4711).and(field("number").lt(4720)))?,
        8
    );
    let page = orders.find(json!({})).sort(json!({"total": -1})).page(20)?;
    let next = page.next.expect("there is more");
    let second = orders
        .find(json!({}))
        .sort(json!({"total": -1}))
        .after(&next)
        .page(20)?;
    assert!(second.documents.iter().all(|order| order["total"] == 999));
    Ok(())
}

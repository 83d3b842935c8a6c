//! The effect and the result of each operation on documents.

use crate::support;
use emmett_postgresql::pongo::{
    Collection, DeleteOptions, Error, HandleId, HandleOptions, HandleOutcome, Index, PongoClient,
    Replacement, ReturnDocument, UpdateOptions,
};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{EventStore, ExpectedVersion};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Product {
    #[serde(rename = "_id")]
    id: String,
    name: String,
    stock: i64,
}

fn product(id: &str, stock: i64) -> Product {
    Product {
        id: id.into(),
        name: format!("product {id}"),
        stock,
    }
}

fn products() -> anyhow::Result<(Database, EventStore, Collection<'static, Product>)> {
    let (database, store) = support::store()?;
    let products = store.collection("products");
    Ok((database, store, products))
}

fn ids(products: &[Product]) -> Vec<&str> {
    products.iter().map(|product| product.id.as_str()).collect()
}

fn conflict(error: &Error) -> (ExpectedVersion, u64) {
    match error {
        Error::Conflict(conflict) => (conflict.expected, conflict.actual),
        other => panic!("no conflict: {other:?}"),
    }
}

#[test]
fn inserting_gives_ids_and_versions_and_never_overwrites() -> anyhow::Result<()> {
    let (_database, store, products) = products()?;
    let inserted = products.insert_one(&product("a", 1))?;
    assert_eq!((inserted.id.as_str(), inserted.version), ("a", 1));
    assert_eq!(
        products.insert_many(&[product("b", 2), product("c", 3)])?,
        ["b", "c"]
    );
    let taken = products.insert_many(&[product("d", 4), product("b", 5)]);
    assert!(
        matches!(&taken, Err(Error::Exists { collection, id, .. }) if collection == "products" && id == "b"),
        "{taken:?}"
    );
    assert_eq!(products.count_documents(json!({}))?, 3, "all or none");
    assert_eq!(products.insert_many(&[])?, Vec::<String>::new());

    let untyped = store.collection::<Value>("untyped");
    let (first, second) = (
        untyped.insert_one(&json!({"n": 1}))?.id,
        untyped.insert_one(&json!({"n": 2}))?.id,
    );
    assert!(first < second, "generated ids are in order");
    let found = untyped.find_by_id(&first)?.expect("inserted");
    assert_eq!(found, json!({"n": 1, "_id": first, "_version": 1}));
    Ok(())
}

#[test]
fn a_version_is_there_for_whoever_asks_and_not_in_the_way_of_others() -> anyhow::Result<()> {
    #[derive(Serialize, Deserialize)]
    struct Versioned {
        #[serde(rename = "_version", default)]
        version: i64,
        name: String,
        stock: i64,
    }
    let (_database, store, products) = products()?;
    products.insert_one(&product("a", 1))?;
    let versioned = store.collection::<Versioned>("products");
    let mut found = versioned.find_by_id("a")?.expect("inserted");
    assert_eq!(found.version, 1);
    found.version = 77;
    found.stock = 2;
    let updated = versioned.replace_one(json!({"_id": "a"}), &found)?;
    assert_eq!(
        updated.version,
        Some(2),
        "what the document says is no version"
    );
    assert_eq!(versioned.find_by_id("a")?.expect("there").version, 2);
    let raw = store.with_session(|session| {
        let rows = session.query("SELECT data::text FROM products", &[])?;
        Ok(rows[0].get::<_, String>(0))
    })?;
    assert!(!raw.contains("_version"), "{raw}");
    Ok(())
}

#[test]
fn documents_are_found_counted_and_told_apart() -> anyhow::Result<()> {
    let (_database, store, products) = products()?;
    products.insert_many(&[product("a", 1), product("b", 2), product("c", 2)])?;
    assert_eq!(products.find_by_id("b")?, Some(product("b", 2)));
    assert_eq!(products.find_by_id("z")?, None);
    assert_eq!(
        products.find_one(json!({"stock": 1}))?,
        Some(product("a", 1))
    );
    let found = products
        .find(json!({"stock": 2}))
        .sort(json!({"name": -1}))
        .to_vec()?;
    assert_eq!(ids(&found), ["c", "b"]);
    assert_eq!(products.count_documents(json!({"stock": 2}))?, 2);
    assert!(products.exists(json!({"stock": 2}))?);
    assert!(!products.exists(json!({"stock": 3}))?);
    assert_eq!(products.distinct::<i64>("stock", json!({}))?, [1, 2]);
    assert_eq!(
        products.distinct::<String>("_id", json!({"stock": 2}))?,
        ["b", "c"]
    );
    let nested = store.collection::<Value>("nested");
    nested.insert_many(&[
        json!({"a": [{"b": 1}, {"b": [2, 3]}]}),
        json!({"a": {"b": [[4]]}}),
        json!({"a": 5}),
    ])?;
    assert_eq!(
        nested.distinct::<Value>("a.b", json!({}))?,
        [json!(1), json!(2), json!(3), json!([4])]
    );
    assert_eq!(nested.distinct::<Value>("a.0.b", json!({}))?, [json!(1)]);
    Ok(())
}

#[test]
fn an_update_says_what_it_matched_and_changed() -> anyhow::Result<()> {
    let (_database, _store, products) = products()?;
    products.insert_many(&[product("a", 1), product("b", 2), product("c", 2)])?;

    let updated = products.update_one(json!({"_id": "a"}), json!({"$inc": {"stock": 4}}))?;
    assert!(updated.matched && updated.modified && !updated.inserted);
    assert_eq!(
        (updated.id.as_deref(), updated.version),
        (Some("a"), Some(2))
    );
    assert_eq!(products.find_by_id("a")?, Some(product("a", 5)));

    let same = products.update_one(json!({"_id": "a"}), json!({"$set": {"stock": 5}}))?;
    assert!(same.matched && !same.modified);
    assert_eq!(same.version, Some(2), "no change, no version");

    let none = products.update_one(json!({"_id": "z"}), json!({"$inc": {"stock": 1}}))?;
    assert!(!none.matched && !none.modified && none.id.is_none());

    let last = UpdateOptions::new().sort(json!({"_id": -1}));
    let updated =
        products.update_one_with(json!({"stock": 2}), json!({"$inc": {"stock": 1}}), last)?;
    assert_eq!(updated.id.as_deref(), Some("c"));

    let many = products.update_many(json!({"stock": {"$lt": 4}}), json!({"$max": {"stock": 3}}))?;
    assert_eq!((many.matched, many.modified), (2, 1));
    let refused = products.update_many(json!({}), json!({"$inc": {"name": 1}}));
    assert!(
        matches!(&refused, Err(Error::UpdateRefused { message, .. }) if message.contains("name")),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn updated_moves_with_every_change_and_only_then() -> anyhow::Result<()> {
    let (_database, store, products) = products()?;
    let times = || -> anyhow::Result<bool> {
        Ok(store.with_session(|session| {
            let rows = session.query("SELECT _updated > _created FROM products", &[])?;
            Ok(rows[0].get(0))
        })?)
    };
    products.insert_one(&product("a", 1))?;
    products.update_one(json!({"_id": "a"}), json!({"$set": {"stock": 1}}))?;
    assert!(!times()?);
    products.update_one(json!({"_id": "a"}), json!({"$set": {"stock": 2}}))?;
    assert!(times()?);
    Ok(())
}

#[test]
fn an_upsert_inserts_what_filter_and_update_say() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let counters = store.collection::<Value>("counters");
    let upsert = UpdateOptions::new().upsert();
    let filter =
        json!({"_id": "c", "kind": "visits", "at.city": {"$eq": "Basel"}, "n": {"$lt": 9}});
    let update = json!({"$inc": {"n": 1}, "$setOnInsert": {"first": true}});
    let updated = counters.update_one_with(filter.clone(), update.clone(), upsert.clone())?;
    assert!(updated.inserted && !updated.matched && !updated.modified);
    assert_eq!(
        (updated.id.as_deref(), updated.version),
        (Some("c"), Some(1))
    );
    let expected = json!({"_id": "c", "_version": 1, "kind": "visits", "at": {"city": "Basel"}, "n": 1, "first": true});
    assert_eq!(counters.find_by_id("c")?, Some(expected));

    let updated = counters.update_one_with(filter.clone(), update.clone(), upsert.clone())?;
    assert!(updated.modified && !updated.inserted);

    // The id exists, but its document does not match.
    counters.update_one(json!({"_id": "c"}), json!({"$set": {"n": 10}}))?;
    let taken = counters.update_one_with(filter, update, upsert.clone());
    assert!(
        matches!(&taken, Err(Error::Exists { id, .. }) if id == "c"),
        "{taken:?}"
    );

    let updated =
        counters.update_one_with(json!({"x": 1}), json!({"$set": {"y": 2}}), upsert.clone())?;
    let id = updated.id.expect("a new id");
    let found = counters.find_by_id(&id)?.expect("upserted");
    assert_eq!((&found["x"], &found["y"]), (&json!(1), &json!(2)));

    let replaced =
        counters.replace_one_with(json!({"_id": "r"}), &json!({"a": 1}), upsert.clone())?;
    assert!(replaced.inserted);
    let absent = upsert.expect(ExpectedVersion::DoesNotExist);
    let conflicting =
        counters.replace_one_with(json!({"_id": "r"}), &json!({"a": 2}), absent.clone());
    assert_eq!(
        conflict(&conflicting.unwrap_err()),
        (ExpectedVersion::DoesNotExist, 1)
    );
    Ok(())
}

#[test]
fn whole_documents_are_upserted_by_their_ids() -> anyhow::Result<()> {
    let (_database, _store, products) = products()?;
    let first = products.upsert_one(&product("a", 1))?;
    assert!(first.inserted && first.version == Some(1));
    let second = products.upsert_one(&product("a", 2))?;
    assert!(second.modified && second.version == Some(2));
    let both = products.upsert_many(&[product("b", 1), product("a", 3)])?;
    assert_eq!(
        (
            both[0].inserted,
            both[0].version,
            both[1].inserted,
            both[1].version
        ),
        (true, Some(1), false, Some(3))
    );
    let twice = products.upsert_many(&[product("a", 1), product("a", 2)]);
    assert!(
        matches!(twice, Err(Error::InvalidInput { .. })),
        "{twice:?}"
    );
    assert_eq!(products.find_by_id("a")?, Some(product("a", 3)));
    Ok(())
}

#[test]
fn a_replacement_keeps_the_id() -> anyhow::Result<()> {
    let (_database, store, products) = products()?;
    products.insert_many(&[product("a", 1), product("b", 2)])?;
    let replaced = products.replace_one(json!({"stock": 2}), &product("b", 5))?;
    assert!(replaced.modified);
    for filter in [json!({"_id": "b"}), json!({"stock": 5})] {
        let other = products.replace_one(filter, &product("a", 9));
        assert!(
            matches!(other, Err(Error::InvalidInput { .. })),
            "{other:?}"
        );
    }
    assert_eq!(products.find_by_id("b")?, Some(product("b", 5)));
    let untyped = store.collection::<Value>("products");
    untyped.replace_one(json!({"_id": "a"}), &json!({"name": "without an id"}))?;
    let found = untyped.find_by_id("a")?.expect("replaced");
    assert_eq!(
        found,
        json!({"_id": "a", "_version": 2, "name": "without an id"})
    );
    Ok(())
}

#[test]
fn many_replacements_are_done_together_or_not_at_all() -> anyhow::Result<()> {
    use ExpectedVersion::{DoesNotExist, Exact, Exists};
    let (_database, _store, products) = products()?;
    let before = [product("a", 1), product("b", 2), product("c", 3)];
    products.insert_many(&before)?;
    let (a, b, z) = (product("a", 10), product("b", 20), product("z", 0));
    let replacements = || {
        [
            Replacement::new("b", &b).expected_version(1),
            ("z", &z).into(),
            ("a", &a).into(),
            Replacement::new("c", &before[2]).expect(Exists),
        ]
    };
    for (id, document, expected, actual) in [
        ("y", &product("y", 1), Exists, 0),
        ("y", &product("y", 1), Exact(1), 0),
        ("q", &product("q", 1), Exact(2), 0),
    ] {
        let unmet = Replacement::new(id, document).expect(expected);
        let lost = products.replace_many(replacements().into_iter().chain([unmet]));
        assert_eq!(conflict(&lost.unwrap_err()), (expected, actual));
    }
    for (expected, actual) in [(Exact(2), 1), (DoesNotExist, 1)] {
        let unmet = Replacement::new("c", &before[2]).expect(expected);
        let lost = products.replace_many([("a", &a).into(), unmet]);
        assert_eq!(conflict(&lost.unwrap_err()), (expected, actual));
    }
    let all = products.find(json!({})).sort(json!({"_id": 1})).to_vec()?;
    assert_eq!(all, before, "all or none");

    let replaced = products.replace_many(replacements())?;
    let outcomes: Vec<_> = replaced
        .iter()
        .map(|updated| (updated.id.as_deref(), updated.modified, updated.version))
        .collect();
    assert_eq!(
        outcomes,
        [
            (Some("b"), true, Some(2)),
            (None, false, None),
            (Some("a"), true, Some(2)),
            (Some("c"), false, Some(1)),
        ],
        "in the order that was given; what stays the same keeps its version"
    );
    let all = products.find(json!({})).sort(json!({"_id": 1})).to_vec()?;
    assert_eq!(ids(&all), ["a", "b", "c"], "none was inserted");
    assert_eq!((all[0].stock, all[1].stock), (10, 20));

    let other = product("b", 21);
    let outdated = Replacement::new("b", &other).expected_version(1);
    let reported = products.replace_many_reporting([outdated, ("a", &before[0]).into()])?;
    let found = reported[0].conflict.as_ref().expect("reported");
    assert_eq!((found.id.as_deref(), found.actual), (Some("b"), 2));
    assert!(reported[0].matched && !reported[0].modified && reported[1].modified);
    assert_eq!(products.find_by_id("b")?, Some(b));
    Ok(())
}

#[test]
fn replacements_that_cannot_be_are_refused() -> anyhow::Result<()> {
    let (_database, store, products) = products()?;
    products.insert_many(&[product("a", 1), product("b", 2)])?;
    let (a, b) = (product("a", 5), product("b", 6));
    for (refused, named) in [
        (products.replace_many([("a", &a), ("b", &a)]), "\"a\""),
        (products.replace_many([("b", &b), ("b", &b)]), "\"b\""),
        (products.replace_many([("", &a)]), "the document id"),
    ] {
        assert!(
            matches!(&refused, Err(error @ Error::InvalidInput { .. }) if error.to_string().contains(named)),
            "{refused:?}"
        );
    }
    let none: [(&str, &Product); 0] = [];
    assert_eq!(products.replace_many(none)?, []);
    assert_eq!(products.find_by_id("a")?, Some(product("a", 1)));

    let untyped = store.collection::<Value>("products");
    untyped.replace_many([("a", &json!({"name": "without an id", "_version": 77}))])?;
    assert_eq!(
        untyped.find_by_id("a")?,
        Some(json!({"_id": "a", "_version": 2, "name": "without an id"}))
    );
    Ok(())
}

#[test]
fn deleting_says_what_was_deleted() -> anyhow::Result<()> {
    let (_database, _store, products) = products()?;
    products.insert_many(&[product("a", 1), product("b", 2), product("c", 2)])?;
    assert_eq!(
        products.delete_one(json!({"_id": "a"}))?.id.as_deref(),
        Some("a")
    );
    assert!(!products.delete_one(json!({"_id": "a"}))?.is_deleted());
    let last = DeleteOptions::new().sort(json!({"_id": -1}));
    assert_eq!(
        products
            .delete_one_with(json!({"stock": 2}), last)?
            .id
            .as_deref(),
        Some("c")
    );
    assert_eq!(products.delete_many(json!({}))?, 1);
    Ok(())
}

#[test]
fn a_document_is_found_and_changed_in_one_statement() -> anyhow::Result<()> {
    let (_database, _store, products) = products()?;
    products.insert_many(&[product("a", 1), product("b", 2)])?;
    let before =
        products.find_one_and_update(json!({"_id": "a"}), json!({"$inc": {"stock": 1}}))?;
    assert_eq!(before, Some(product("a", 1)));
    let after = products.find_one_and_update_with(
        json!({"_id": "a"}),
        json!({"$inc": {"stock": 1}}),
        ReturnDocument::After,
        UpdateOptions::new(),
    )?;
    assert_eq!(after, Some(product("a", 3)));
    let before = products.find_one_and_replace(json!({"_id": "b"}), &product("b", 9))?;
    assert_eq!(before, Some(product("b", 2)));
    let inserted = products.find_one_and_replace_with(
        json!({"_id": "c"}),
        &product("c", 1),
        ReturnDocument::After,
        UpdateOptions::new().upsert(),
    )?;
    assert_eq!(inserted, Some(product("c", 1)));
    assert_eq!(
        products.find_one_and_delete(json!({"_id": "b"}))?,
        Some(product("b", 9))
    );
    assert_eq!(products.find_one_and_delete(json!({"_id": "b"}))?, None);
    let report = UpdateOptions::new().report_conflict();
    let refused = products.find_one_and_update_with(
        json!({}),
        json!({"$inc": {"stock": 1}}),
        ReturnDocument::After,
        report,
    );
    assert!(matches!(refused, Err(Error::InvalidInput { .. })));
    Ok(())
}

#[test]
fn what_cannot_be_read_is_not_changed() -> anyhow::Result<()> {
    use ReturnDocument::{After, Before};
    let (database, store, products) = products()?;
    let untyped = store.collection::<Value>("products");
    let odd = json!({"_id": "a", "name": "a", "stock": "many"});
    untyped.insert_one(&odd)?;
    let inc = || json!({"$set": {"name": "changed"}});
    let by_id = || json!({"_id": "a"});
    let upsert = || UpdateOptions::new().upsert();
    let breaking = json!({"$set": {"name": 7}});
    for refused in [
        products.find_one_and_delete(by_id()),
        products.find_one_and_update(by_id(), inc()),
        products.find_one_and_update_with(by_id(), inc(), After, upsert()),
        products.find_one_and_replace_with(by_id(), &product("a", 1), Before, upsert()),
        products.find_one_and_update_with(json!({"_id": "b"}), breaking, After, upsert()),
    ] {
        assert!(matches!(refused, Err(Error::Json { .. })), "{refused:?}");
    }
    let error = products.find_by_id("a").unwrap_err();
    assert_eq!(
        error.to_string(),
        "document \"a\" of collection \"products\" cannot be read"
    );
    let mut unchanged = odd;
    unchanged["_version"] = json!(1);
    assert_eq!(untyped.find(json!({})).to_vec()?, [unchanged]);

    let client = PongoClient::builder(database.url()).connect()?;
    client.with_transaction(|transaction| {
        let products = transaction.collection::<Product>("products");
        let refused = products.find_one_and_delete(by_id());
        assert!(matches!(refused, Err(Error::Json { .. })), "{refused:?}");
        drop(products);
        assert_eq!(
            transaction
                .collection::<Value>("products")
                .count_documents(json!({}))?,
            1
        );
        Ok(())
    })?;
    assert!(untyped.exists(by_id())?);
    Ok(())
}

#[test]
fn an_upsert_has_an_id_that_every_operation_takes() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let documents = store.collection::<Value>("documents");
    for id in [String::new(), "x".repeat(2_001)] {
        let (filter, upsert) = (|| json!({"_id": id}), || UpdateOptions::new().upsert());
        let replaced = documents.replace_one_with(filter(), &json!({}), upsert());
        let updated = documents.update_one_with(filter(), json!({"$set": {"a": 1}}), upsert());
        for refused in [replaced, updated] {
            assert!(
                matches!(&refused, Err(error @ Error::InvalidInput { .. }) if error.to_string().contains("the document id")),
                "{refused:?}"
            );
        }
    }
    for id in ["", "a\0"] {
        let found = documents.find_by_id(id);
        assert!(
            matches!(found, Err(Error::InvalidInput { .. })),
            "{found:?}"
        );
    }
    assert_eq!(documents.count_documents(json!({}))?, 0);
    Ok(())
}

#[test]
fn an_update_is_no_replacement() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let documents = store.collection::<Value>("documents");
    documents.insert_one(&json!({"_id": "a", "n": 1}))?;
    let update = json!({"_id": "a", "$set": {"n": 2}});
    let by_id = || json!({"_id": "a"});
    for refused in [
        documents.replace_one(by_id(), &update).map(drop),
        documents.find_one_and_replace(by_id(), &update).map(drop),
        documents.replace_many([("a", &update)]).map(drop),
        documents.upsert_one(&update).map(drop),
    ] {
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("`$set`"), "{message}");
    }
    let found = documents.find_by_id("a")?;
    assert_eq!(found, Some(json!({"_id": "a", "_version": 1, "n": 1})));
    Ok(())
}

#[test]
fn every_write_checks_the_version_that_it_expects() -> anyhow::Result<()> {
    use ExpectedVersion::{DoesNotExist, Exact, Exists};
    let (_database, _store, products) = products()?;
    products.insert_one(&product("a", 1))?;
    let inc = || json!({"$inc": {"stock": 1}});
    let options = |expected| UpdateOptions::new().expect(expected);
    let deletion = |expected| DeleteOptions::new().expect(expected);
    for (id, expected, actual) in [
        ("a", Exact(2), 1),
        ("a", DoesNotExist, 1),
        ("z", Exact(1), 0),
        ("z", Exists, 0),
    ] {
        let filter = || json!({"_id": id});
        let updated = products.update_one_with(filter(), inc(), options(expected));
        assert_eq!(conflict(&updated.unwrap_err()), (expected, actual));
        let replaced = products.replace_one_with(filter(), &product(id, 7), options(expected));
        assert_eq!(conflict(&replaced.unwrap_err()), (expected, actual));
        let found = products.find_one_and_update_with(
            filter(),
            inc(),
            ReturnDocument::After,
            options(expected),
        );
        assert_eq!(conflict(&found.unwrap_err()), (expected, actual));
        let deleted = products.delete_one_with(filter(), deletion(expected));
        assert_eq!(conflict(&deleted.unwrap_err()), (expected, actual));
        let handled = products.handle(HandleId::new(id).expect(expected), |_| {
            panic!("the handler is not called")
        });
        assert_eq!(conflict(&handled.unwrap_err()), (expected, actual));

        let reported =
            products.update_one_with(filter(), inc(), options(expected).report_conflict())?;
        assert_eq!(reported.conflict.expect("reported").actual, actual);
        assert!(!reported.modified);
        let reported = products.delete_one_with(filter(), deletion(expected).report_conflict())?;
        assert_eq!(reported.conflict.expect("reported").actual, actual);
    }
    let message = products
        .update_one_with(json!({"_id": "a"}), inc(), options(Exact(2)))
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "document \"a\" of collection \"products\" is at version 1, expected version 2"
    );
    assert_eq!(
        products.find_by_id("a")?,
        Some(product("a", 1)),
        "untouched"
    );
    for expected in [Exact(1), Exists] {
        let updated = products.update_one_with(json!({"_id": "a"}), inc(), options(expected))?;
        assert!(updated.modified);
    }
    Ok(())
}

#[test]
fn handle_inserts_replaces_deletes_or_leaves() -> anyhow::Result<()> {
    let (_database, _store, products) = products()?;
    let inserted = products.handle("a", |found| {
        assert_eq!(found, None);
        Ok(Some(product("a", 1)))
    })?;
    assert_eq!(
        (inserted.outcome, inserted.version, inserted.document),
        (HandleOutcome::Inserted, Some(1), Some(product("a", 1)))
    );
    let replaced = products.handle(("a", 1), |found| {
        let mut found = found.expect("there");
        found.stock += 1;
        Ok(Some(found))
    })?;
    assert_eq!(
        (replaced.outcome, replaced.version),
        (HandleOutcome::Replaced, Some(2))
    );
    let same = products.handle("a", Ok)?;
    assert_eq!(
        (same.outcome, same.version),
        (HandleOutcome::Unchanged, Some(2))
    );
    let failed = products.handle("a", |_| anyhow::bail!("no"));
    assert!(
        matches!(&failed, Err(Error::Handler { id, .. }) if id == "a"),
        "{failed:?}"
    );
    let other = products.handle("a", |_| Ok(Some(product("b", 1))));
    assert!(matches!(other, Err(Error::InvalidInput { .. })));
    let deleted = products.handle("a", |_| Ok(None))?;
    assert_eq!(
        (deleted.outcome, deleted.version),
        (HandleOutcome::Deleted, None)
    );
    let nothing = products.handle("a", |_| Ok(None))?;
    assert_eq!(
        (nothing.outcome, nothing.version),
        (HandleOutcome::Unchanged, None)
    );
    Ok(())
}

// The original compares with a shallow copy, and so loses such a change.
#[test]
fn a_change_deep_inside_is_a_change() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let carts = store.collection::<Value>("carts");
    carts.insert_one(&json!({"_id": "a", "lines": [{"product": {"stock": 1}}]}))?;
    let handled = carts.handle("a", |cart| {
        let mut cart = cart.expect("there");
        cart["lines"][0]["product"]["stock"] = json!(2);
        Ok(Some(cart))
    })?;
    assert_eq!(handled.outcome, HandleOutcome::Replaced);
    let found = carts.find_by_id("a")?.expect("there");
    assert_eq!(found["lines"][0]["product"]["stock"], 2);
    Ok(())
}

#[test]
fn many_documents_are_handled_together() -> anyhow::Result<()> {
    let (_database, _store, products) = products()?;
    products.insert_many(&[
        product("a", 1),
        product("b", 2),
        product("c", 3),
        product("d", 4),
    ])?;
    let handled = products.handle_many(["d", "a", "b", "new"], |id, found| {
        Ok(match id {
            "d" => None,
            "b" => found,
            _ => Some(product(id, found.map_or(0, |found| found.stock + 10))),
        })
    })?;
    let outcomes: Vec<(&str, &HandleOutcome)> = handled
        .iter()
        .map(|handled| (handled.id.as_str(), &handled.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("d", &HandleOutcome::Deleted),
            ("a", &HandleOutcome::Replaced),
            ("b", &HandleOutcome::Unchanged),
            ("new", &HandleOutcome::Inserted)
        ]
    );
    let all = products.find(json!({})).sort(json!({"_id": 1})).to_vec()?;
    let stocks: Vec<i64> = all.iter().map(|product| product.stock).collect();
    assert_eq!(
        (ids(&all), stocks),
        (vec!["a", "b", "c", "new"], vec![11, 2, 3, 0])
    );
    let none: [&str; 0] = [];
    assert!(products.handle_many(none, |_, found| Ok(found))?.is_empty());
    let twice = products.handle_many(["a", "a"], |_, found| Ok(found));
    assert!(matches!(twice, Err(Error::InvalidInput { .. })));
    Ok(())
}

#[test]
fn a_document_that_changed_meanwhile_keeps_all_from_being_written() -> anyhow::Result<()> {
    let (_database, store, products) = products()?;
    products.insert_many(&[product("a", 1), product("b", 1)])?;
    let interfere = |id: &str, found: Option<Product>| {
        if id == "b" {
            let other = store.collection::<Product>("products");
            other.update_one(json!({"_id": "b"}), json!({"$inc": {"stock": 1}}))?;
        }
        Ok(found.map(|found| product(id, found.stock + 100)))
    };
    let lost = products.handle_many(["a", "b", "c"], interfere);
    assert_eq!(conflict(&lost.unwrap_err()), (ExpectedVersion::Exact(1), 2));
    assert_eq!(
        products.find_by_id("a")?,
        Some(product("a", 1)),
        "all or none"
    );

    let reported = products.handle_many_with(
        ["a", "b"],
        HandleOptions::new().report_conflict(),
        interfere,
    )?;
    assert_eq!(reported[0].outcome, HandleOutcome::Replaced);
    assert!(
        matches!(&reported[1].outcome, HandleOutcome::Conflict(conflict) if conflict.actual == 3)
    );
    assert_eq!(products.find_by_id("a")?, Some(product("a", 101)));
    assert_eq!(products.find_by_id("b")?, Some(product("b", 3)));

    let mut attempts = 0;
    let retried = products.handle_with("b", HandleOptions::new().retry(2), |found| {
        attempts += 1;
        if attempts < 3 {
            return interfere("b", found);
        }
        Ok(found.map(|found| product("b", found.stock + 100)))
    })?;
    assert_eq!((attempts, retried.version), (3, Some(6)));
    assert_eq!(products.find_by_id("b")?, Some(product("b", 105)));
    Ok(())
}

/// A replacement is tried as an insertion, which must leave nothing, neither the document nor an error of its own.
#[test]
fn a_document_that_was_deleted_meanwhile_stays_away() -> anyhow::Result<()> {
    let (_database, store, products) = products()?;
    products.create_index(&Index::unique("name"))?;
    for heir in [None, Some("heir")] {
        products.insert_many(&[product("a", 1), product("b", 1)])?;
        let lost = products.handle_many(["a", "b"], |id, found| {
            if id == "b" {
                let other = store.collection::<Product>("products");
                other.delete_one(json!({"_id": "b"}))?;
                if let Some(heir) = heir {
                    other.insert_one(&Product {
                        id: heir.into(),
                        ..product("b", 1)
                    })?;
                }
            }
            Ok(found.map(|found| product(id, found.stock + 100)))
        });
        assert_eq!(conflict(&lost.unwrap_err()), (ExpectedVersion::Exact(1), 0));
        let all = products.find(json!({})).sort(json!({"_id": 1})).to_vec()?;
        let left: Vec<&str> = std::iter::once("a").chain(heir).collect();
        assert_eq!(ids(&all), left);
        assert_eq!(all[0], product("a", 1), "all or none");
        products.delete_many(json!({}))?;
    }
    Ok(())
}

#[test]
fn everything_works_in_a_session_and_is_taken_back_with_it() -> anyhow::Result<()> {
    let (_database, store, products) = products()?;
    products.insert_many(&[product("a", 1), product("b", 1)])?;
    let failed: Result<(), emmett_postgresql::Error> = store.with_session(|session| {
        let inside = session.collection::<Product>("products");
        inside.insert_one(&product("c", 1))?;
        inside.update_one(json!({"_id": "a"}), json!({"$inc": {"stock": 1}}))?;
        inside.handle_many(["a", "b", "d"], |id, found| {
            Ok(Some(product(id, found.map_or(7, |found| found.stock + 10))))
        })?;
        assert_eq!(inside.find_by_id("a")?, Some(product("a", 12)));
        assert_eq!(inside.find_by_id("d")?, Some(product("d", 7)));
        let stale = inside.handle(("a", 1), |_| panic!("not called"));
        assert!(stale.is_err_and(|error| error.is_conflict()));
        inside.delete_one(json!({"_id": "b"}))?;
        assert_eq!(inside.count_documents(json!({}))?, 3);
        anyhow::bail!("changed my mind")
    });
    assert!(matches!(
        failed,
        Err(emmett_postgresql::Error::Session { .. })
    ));
    let all = products.find(json!({})).sort(json!({"_id": 1})).to_vec()?;
    assert_eq!(all, [product("a", 1), product("b", 1)]);
    Ok(())
}

//! Fields, orders, pages, and reading in bounded memory.

use crate::support;
use emmett_postgresql::EventStore;
use emmett_postgresql::pongo::{Collection, Error, FieldSelection};
use emmett_postgresql::testing::Database;
use serde::Deserialize;
use serde_json::{Value, json};

fn collection() -> anyhow::Result<(Database, EventStore, Collection<'static, Value>)> {
    let (database, store) = support::store()?;
    let documents = store.collection("documents");
    Ok((database, store, documents))
}

fn ids(documents: &[Value]) -> Vec<&str> {
    documents
        .iter()
        .map(|document| document["_id"].as_str().unwrap_or("no id"))
        .collect()
}

// https://www.mongodb.com/docs/manual/tutorial/project-fields-from-query-results/
#[test]
fn a_selection_reads_the_fields_that_it_names_or_all_others() -> anyhow::Result<()> {
    let (_database, _store, documents) = collection()?;
    documents.insert_one(&json!({
        "_id": "a", "item": "journal", "status": "A", "size": {"h": 14, "uom": "cm"},
        "instock": [{"warehouse": "A", "qty": 5, "lots": [[{"no": 1, "x": 2}]]}, 7, {"other": 1}],
        "it's": {"\"q\"": 1, "r": null}
    }))?;
    let cases: Vec<(FieldSelection, Value)> = vec![
        (
            json!({"item": 1, "status": 1}).into(),
            json!({"_id": "a", "item": "journal", "status": "A"}),
        ),
        (
            json!({"item": 1, "_id": 0}).into(),
            json!({"item": "journal"}),
        ),
        (
            json!({"item": true, "_version": true}).into(),
            json!({"_id": "a", "item": "journal", "_version": 1}),
        ),
        (
            ["size.uom"].into(),
            json!({"_id": "a", "size": {"uom": "cm"}}),
        ),
        (
            ["instock.qty", "size.h"].into(),
            json!({"_id": "a", "instock": [{"qty": 5}, {}], "size": {"h": 14}}),
        ),
        (
            ["instock.lots.no"].into(),
            json!({"_id": "a", "instock": [{"lots": [[{"no": 1}]]}, {}]}),
        ),
        (["missing", "item.deeper"].into(), json!({"_id": "a"})),
        (
            json!({"instock": 0, "it's": 0, "size.h": 0}).into(),
            json!({"_id": "a", "_version": 1, "item": "journal", "status": "A", "size": {"uom": "cm"}}),
        ),
        (
            json!({"instock.lots": 0, "instock.warehouse": 0, "item": 0, "status": 0, "size": 0, "it's.\"q\"": 0,
                   "_version": 0})
            .into(),
            json!({"_id": "a", "instock": [{"qty": 5}, 7, {"other": 1}], "it's": {"r": null}}),
        ),
        (
            ["it's.\"q\""].into(),
            json!({"_id": "a", "it's": {"\"q\"": 1}}),
        ),
    ];
    for (selection, expected) in cases {
        let found: Vec<Value> = documents
            .find(json!({}))
            .select(selection.clone())
            .to_vec()?;
        assert_eq!(found, [expected], "{selection:?}");
    }
    let mixed = documents
        .find(json!({}))
        .select::<Value>(json!({"a": 1, "b": 0}))
        .to_vec();
    assert!(matches!(mixed, Err(Error::Filter(_))), "{mixed:?}");
    Ok(())
}

#[test]
fn a_selection_is_read_as_a_type_of_its_own() -> anyhow::Result<()> {
    #[derive(Deserialize, Debug, PartialEq)]
    struct Name {
        name: String,
    }
    let (_database, _store, documents) = collection()?;
    documents.insert_many(&[json!({"name": "b", "n": 1}), json!({"name": "a", "n": 2})])?;
    let by_name = documents
        .find(json!({}))
        .select::<Name>(["name"])
        .sort(json!({"n": -1}))
        .limit(1)
        .to_vec()?;
    assert_eq!(by_name, [Name { name: "a".into() }]);
    Ok(())
}

#[test]
fn values_of_all_types_are_in_one_order_and_a_limit_of_0_gives_none() -> anyhow::Result<()> {
    let (_database, _store, documents) = collection()?;
    let in_order = [
        json!([]),
        json!(null),
        json!(""),
        json!("B"),
        json!("a"),
        json!(-1),
        json!(2),
        json!(false),
        json!(true),
        json!([5]),
        json!([null]),
        json!({"b": 1}),
        json!({}),
    ];
    // Arrays that have elements are equal in an order, and so are objects: the ids decide.
    let with_ids = in_order.iter().zip('a'..='z');
    let mut reversed: Vec<Value> = with_ids
        .map(|(value, id)| json!({"_id": id, "value": value}))
        .collect();
    reversed.reverse();
    documents.insert_many(&reversed)?;

    let sorted = || documents.find(json!({})).sort(json!({"value": 1}));
    let found: Vec<Value> = sorted()
        .to_vec()?
        .into_iter()
        .map(|mut document| document["value"].take())
        .collect();
    assert_eq!(found, in_order);
    assert!(sorted().limit(0).to_vec()?.is_empty());
    Ok(())
}

#[test]
fn fields_are_selected_by_lists_that_are_made_as_the_program_runs() -> anyhow::Result<()> {
    let (_database, _store, documents) = collection()?;
    documents.insert_one(&json!({"_id": "x", "a": {"b": 1}, "c": 2, "d": 3}))?;
    let names = vec!["a.b".to_owned(), "c".to_owned()];

    let selections: [FieldSelection; 3] = [
        names.as_slice().into(),
        names.iter().map(String::as_str).collect::<Vec<_>>().into(),
        names.into(),
    ];
    for selection in selections {
        let found: Vec<Value> = documents.find(json!({})).select(selection).to_vec()?;
        assert_eq!(found, [json!({"_id": "x", "a": {"b": 1}, "c": 2})]);
    }
    Ok(())
}

/// Values of all types, some of them equal, and the sorts that pages are read in.
fn mixed() -> (Vec<Value>, Vec<Value>) {
    let values = [
        json!(null),
        json!(1),
        json!(-2.5),
        json!(12_345_678_901_i64),
        json!("a"),
        json!("B"),
        json!("it's \"x\" \\ 😀"),
        json!(""),
        json!(true),
        json!([]),
        json!([1, 2]),
        json!({"x": 1}),
    ];
    let mut documents = Vec::new();
    for (number, value) in values.iter().cycle().take(40).enumerate() {
        let mut document = json!({"_id": format!("{:02}", (number * 7) % 40), "group": number % 3});
        if number % 5 != 0 {
            document["value"] = value.clone();
        }
        documents.push(document);
    }
    let sorts = vec![
        json!({}),
        json!({"_id": -1}),
        json!({"value": 1}),
        json!({"value": -1}),
        json!({"group": 1, "value": -1}),
        json!({"group": -1, "value": -1}),
        json!({"group": -1, "value": 1, "_version": -1}),
    ];
    (documents, sorts)
}

#[test]
fn pages_give_every_document_once_in_the_order() -> anyhow::Result<()> {
    let (_database, _store, collection) = collection()?;
    let (documents, sorts) = mixed();
    collection.insert_many(&documents)?;
    for sort in sorts {
        let whole = collection.find(json!({})).sort(sort.clone()).to_vec()?;
        for size in [1, 3, 39, 40, 41] {
            let (mut paged, mut next) = (Vec::new(), None::<String>);
            loop {
                let mut find = collection.find(json!({})).sort(sort.clone());
                if let Some(next) = &next {
                    find = find.after(next);
                }
                let page = find.page(size)?;
                assert!(page.documents.len() <= usize::try_from(size)?);
                paged.extend(page.documents);
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            assert_eq!(ids(&paged), ids(&whole), "{sort}, pages of {size}");
        }
    }
    Ok(())
}

#[test]
fn a_page_begins_behind_a_document_whatever_happens_before_it() -> anyhow::Result<()> {
    let (_database, _store, documents) = collection()?;
    let numbered = |number: i64| json!({"_id": number.to_string(), "n": number});
    documents.insert_many(&[1, 3, 5, 7].map(numbered))?;
    let sorted = || documents.find(json!({})).sort(json!({"n": 1}));
    let first = sorted().page(2)?;
    documents.delete_one(json!({"_id": "3"}))?;
    documents.insert_many(&[0, 2, 4].map(numbered))?;
    let next = first.next.expect("there is more");
    assert_eq!(
        ids(&sorted().after(&next).page(9)?.documents),
        ["4", "5", "7"]
    );
    Ok(())
}

#[test]
fn a_page_refuses_what_it_cannot_do() -> anyhow::Result<()> {
    let (_database, _store, documents) = collection()?;
    documents.insert_many(&[json!({"n": 1}), json!({"n": 2})])?;
    let sorted = || documents.find(json!({})).sort(json!({"n": 1}));
    let next = sorted().page(1)?.next.expect("there is more");
    assert!(
        next.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'),
        "{next}"
    );
    let refused = [
        sorted().page(0),
        sorted().limit(1).page(1),
        sorted().skip(1).page(1),
        sorted().after("not a token!").page(1),
        sorted().after("bm90IGpzb24").page(1),
        documents
            .find(json!({}))
            .sort(json!({"n": -1}))
            .after(&next)
            .page(1),
    ];
    for page in refused {
        assert!(matches!(page, Err(Error::InvalidInput { .. })), "{page:?}");
    }
    let elsewhere = sorted().after(&next).to_vec();
    assert!(matches!(elsewhere, Err(Error::InvalidInput { .. })));
    Ok(())
}

#[test]
fn an_iterator_fetches_batch_by_batch_from_one_state() -> anyhow::Result<()> {
    let (_database, store, documents) = collection()?;
    let numbered: Vec<Value> = (0..250)
        .map(|n| json!({"_id": format!("{n:03}")}))
        .collect();
    documents.insert_many(&numbered)?;
    for batch_size in [1, 100, 125, 249, 250, 251, u32::MAX] {
        let found = documents
            .find(json!({}))
            .sort(json!({"_id": 1}))
            .batch_size(batch_size)
            .cursor()?
            .collect::<Result<Vec<Value>, Error>>()?;
        assert_eq!(found.len(), 250);
        assert_eq!(found[249]["_id"], "249");
    }
    let mut iterator = documents
        .find(json!({}))
        .sort(json!({"_id": 1}))
        .batch_size(100)
        .cursor()?;
    let first = iterator.next().expect("the first")?;
    assert_eq!(first["_id"], "000");
    documents.delete_many(json!({}))?;
    assert_eq!(iterator.count(), 249, "what was there when it began");

    // Several in one transaction, one of them left in the middle.
    documents.insert_many(&numbered)?;
    store.with_session(|session| {
        let inside = session.collection::<Value>("documents");
        let mut left = inside.find(json!({})).batch_size(10).cursor()?;
        assert!(left.next().is_some());
        drop(left);
        let mut one = inside.find(json!({})).batch_size(10).cursor()?;
        let mut other = inside
            .find(json!({"_id": {"$lt": "100"}}))
            .batch_size(7)
            .cursor()?;
        for _ in 0..100 {
            one.next().expect("one")?;
            other.next().expect("other")?;
        }
        assert!(other.next().is_none());
        drop(other);
        assert_eq!(one.count(), 150);
        let cursors = session.query(
            "SELECT count(*) FROM pg_cursors WHERE name LIKE 'emt_find%'",
            &[],
        )?;
        assert_eq!(cursors[0].get::<_, i64>(0), 0, "closed when dropped");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn an_iterator_ends_after_an_error() -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Numbered {
        #[expect(dead_code, reason = "only its type counts")]
        n: i64,
    }
    let (_database, store, documents) = collection()?;
    documents.insert_many(&[
        json!({"_id": "a", "n": 1}),
        json!({"_id": "b", "n": "one"}),
        json!({"_id": "c", "n": 2}),
    ])?;
    let numbered = store.collection::<Numbered>("documents");
    let found: Vec<bool> = numbered
        .find(json!({}))
        .sort(json!({"_id": 1}))
        .cursor()?
        .map(|document| document.is_ok())
        .collect();
    assert_eq!(found, [true, false]);
    assert!(numbered.find(json!({})).batch_size(0).cursor().is_err());
    assert!(numbered.find(json!({"$no": 1})).cursor().is_err());
    Ok(())
}

#[test]
fn a_plan_can_be_read() -> anyhow::Result<()> {
    let (_database, _store, documents) = collection()?;
    documents.insert_one(&json!({"n": 1}))?;
    let plan = documents.find(json!({"_id": "it's"})).explain()?;
    assert!(
        plan.contains("documents_pkey") && plan.contains("cost="),
        "{plan}"
    );
    let plan = documents
        .find(json!({"n": {"$gt": 0}}))
        .sort(json!({"n": 1}))
        .limit(3)
        .explain_analyze()?;
    assert!(plan.contains("actual"), "{plan}");
    Ok(())
}

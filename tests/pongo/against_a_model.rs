//! Random filters on random documents give the results of an evaluator of MongoDB's semantics. Sorts are total orders.

use super::evaluator;
use crate::support;
use emmett_postgresql::pongo::Collection;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::fmt::Debug;

const DOCUMENTS: usize = 250;
const FILTERS: u32 = 600;
const SORTS: u32 = 40;

fn config(cases: u32) -> Config {
    Config {
        cases,
        max_shrink_iters: 500,
        failure_persistence: None,
        ..Config::default()
    }
}

fn mostly_one<T: Debug + 'static>(
    strategy: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Vec<T>> {
    let strategy = strategy.boxed();
    prop_oneof![3 => vec(strategy.clone(), 1), 1 => vec(strategy, 2)]
}

/// Few names, so that filters name what documents have.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(vec!["a", "b", "c"]),
        1 => select(vec!["0", "1", "_id", "_version"]),
    ]
    .prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> {
    select(vec![
        "", "a", "B", "ab", "b\na", "A\nb", "é", "😀", "'\\\"$1",
    ])
    .prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        4 => (-1..4_i64).prop_map(Value::from),
        1 => select(vec![0.0, 1.0, 1.5, -1e300]).prop_map(Value::from),
        4 => text().prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 0..4).prop_map(Value::from),
            2 => object(inner, 0..3),
        ]
    })
}

fn object(
    inner: impl Strategy<Value = Value>,
    size: std::ops::Range<usize>,
) -> impl Strategy<Value = Value> {
    vec((name(), inner), size).prop_map(|entries| Value::Object(entries.into_iter().collect()))
}

fn document() -> impl Strategy<Value = Map<String, Value>> {
    vec((select(vec!["a", "b", "c", "0"]), value()), 1..4).prop_map(|entries| {
        let entries = entries.into_iter();
        entries
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    })
}

fn path() -> impl Strategy<Value = String> {
    let first = select(vec!["a", "b", "c", "0"]).prop_map(str::to_owned);
    let position = select(vec!["0", "1"]).prop_map(str::to_owned);
    let rest = prop_oneof![3 => name().boxed(), 1 => position.boxed()].boxed();
    let depth = prop_oneof![4 => Just(0), 3 => Just(1), 1 => Just(2)];
    let rest = depth.prop_flat_map(move |depth| vec(rest.clone(), depth));
    (first, rest).prop_map(|(first, rest)| {
        let names: Vec<String> = std::iter::once(first).chain(rest).collect();
        names.join(".")
    })
}

/// What to compare with: mostly something that documents have, too.
fn operand() -> impl Strategy<Value = Value> {
    prop_oneof![5 => scalar().boxed(), 1 => value().boxed()]
}

fn pattern() -> impl Strategy<Value = String> {
    let letters = vec(select(vec!["a", "b", "."]), 0..3);
    (any::<bool>(), letters, any::<bool>()).prop_map(|(begin, letters, end)| {
        let begin = if begin { "^" } else { "" };
        let end = if end { "$" } else { "" };
        format!("{begin}{}{end}", letters.concat())
    })
}

/// One operator with its operand, without those that contain others.
fn simple_operator() -> impl Strategy<Value = Map<String, Value>> {
    let one =
        |operator: &'static str| move |operand| Map::from_iter([(operator.to_owned(), operand)]);
    let type_name = select(vec![
        json!("null"),
        json!("bool"),
        json!("number"),
        json!("string"),
        json!("array"),
        json!("object"),
        json!(10),
        json!(8),
        json!(2),
        json!(4),
        json!(3),
    ]);
    prop_oneof![
        3 => operand().prop_map(one("$eq")),
        2 => operand().prop_map(one("$ne")),
        2 => vec(operand(), 0..4).prop_map(Value::from).prop_map(one("$in")),
        1 => vec(operand(), 0..4).prop_map(Value::from).prop_map(one("$nin")),
        4 => (select(vec!["$gt", "$gte", "$lt", "$lte"]), scalar())
            .prop_map(|(operator, operand)| Map::from_iter([(operator.to_owned(), operand)])),
        1 => any::<bool>().prop_map(Value::from).prop_map(one("$exists")),
        2 => type_name.clone().prop_map(one("$type")),
        1 => vec(type_name, 1..3).prop_map(Value::from).prop_map(one("$type")),
        2 => (0..4_u64).prop_map(Value::from).prop_map(one("$size")),
        1 => vec(operand(), 0..3).prop_map(Value::from).prop_map(one("$all")),
        2 => (pattern(), "[ims]{0,3}").prop_map(|(pattern, options)| {
            Map::from_iter([("$regex".to_owned(), pattern.into()), ("$options".to_owned(), options.into())])
        }),
    ]
}

/// What may stand behind a field.
fn condition(depth: u32) -> BoxedStrategy<Value> {
    let operators = mostly_one(simple_operator())
        .prop_map(|all| Value::Object(all.into_iter().flatten().collect()))
        .boxed();
    if depth == 0 {
        return operators;
    }
    let wrapped = |operator: &'static str| move |operand: Value| json!({operator: operand});
    let negatable = condition(depth - 1).prop_filter("`$not` takes operators", |condition| {
        let operators = condition.as_object();
        operators.is_some_and(|operators| operators.keys().any(|key| key.starts_with('$')))
    });
    let negated = operators.clone().prop_map(wrapped("$not"));
    let elements =
        prop_oneof![2 => filter(depth - 1), 2 => operators.clone(), 1 => negated].boxed();
    let all_elements = vec(elements.clone().prop_map(wrapped("$elemMatch")), 1..3);
    prop_oneof![
        2 => operand(),
        5 => operators,
        1 => negatable.prop_map(wrapped("$not")),
        3 => elements.prop_map(wrapped("$elemMatch")),
        1 => all_elements.prop_map(Value::from).prop_map(wrapped("$all")),
    ]
    .boxed()
}

fn filter(depth: u32) -> BoxedStrategy<Value> {
    let fields = mostly_one((path(), condition(depth)))
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
        .boxed();
    if depth == 0 {
        return fields;
    }
    let branches = (
        select(vec!["$and", "$or", "$nor"]),
        vec(filter(depth - 1), 1..3),
    );
    let branches = branches.prop_map(|(operator, branches)| json!({operator: branches}));
    prop_oneof![4 => fields, 1 => branches].boxed()
}

fn sort() -> impl Strategy<Value = Vec<(String, i64)>> {
    let path = prop_oneof![4 => path().boxed(), 1 => select(vec!["_id", "_version"]).prop_map(str::to_owned).boxed()];
    vec((path, select(vec![1, -1])), 0..3)
}

fn ids(documents: &[Value]) -> Vec<&str> {
    documents
        .iter()
        .filter_map(|document| document["_id"].as_str())
        .collect()
}

fn insert_random_documents(
    runner: &mut TestRunner,
    collection: &Collection<'_, Value>,
) -> anyhow::Result<Vec<Value>> {
    let documents = (0..DOCUMENTS).map(|number| {
        let tree = document()
            .new_tree(runner)
            .map_err(|reason| anyhow::anyhow!("{reason}"))?;
        let mut document = tree.current();
        document.insert("_id".to_owned(), format!("{number:03}").into());
        Ok(Value::Object(document))
    });
    let documents = documents.collect::<anyhow::Result<Vec<Value>>>()?;
    collection.insert_many(&documents)?;
    Ok(documents)
}

#[test]
fn a_filter_finds_what_mongodb_finds() -> anyhow::Result<()> {
    let mut runner = TestRunner::new(config(FILTERS));
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("documents");
    let documents = insert_random_documents(&mut runner, &collection)?;
    let telling = Cell::new(0);

    runner.run(&filter(2), |filter| {
        let found = collection
            .find(filter.clone())
            .sort(json!({"_id": 1}))
            .to_vec();
        let found = found
            .map_err(|error| TestCaseError::fail(format!("{:#}", anyhow::Error::from(error))))?;

        let (found, mut expected) = (ids(&found), Vec::new());
        for document in &documents {
            let matches = evaluator::matches(&filter, document);
            expected.extend(matches.then(|| ids(std::slice::from_ref(document))[0]));
            let id = &document["_id"];
            let is_found = found.contains(&id.as_str().unwrap_or_default());
            prop_assert_eq!(is_found, matches, "{} over {}", filter, document);
        }
        if !found.is_empty() && found.len() < documents.len() {
            telling.set(telling.get() + 1);
        }
        prop_assert_eq!(found, expected);
        Ok(())
    })?;

    assert!(
        telling.get() > FILTERS / 4,
        "{} of {FILTERS} filters tell documents apart",
        telling.get()
    );
    Ok(())
}

#[test]
fn a_sort_is_a_total_order_in_both_directions() -> anyhow::Result<()> {
    let mut runner = TestRunner::new(config(SORTS));
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("documents");
    insert_random_documents(&mut runner, &collection)?;

    runner.run(&sort(), |keys| {
        let order = |factor: i64| {
            let keys = keys
                .iter()
                .map(|(path, direction)| json!({path: direction * factor}));
            Value::Array(keys.collect())
        };
        let find = |order: Value, skip: u64| {
            let page = collection.find(json!({})).sort(order).skip(skip);
            let found = page
                .limit(100)
                .to_vec()
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            Ok::<_, TestCaseError>(
                ids(&found)
                    .into_iter()
                    .map(str::to_owned)
                    .collect::<Vec<_>>(),
            )
        };

        let pages = [
            find(order(1), 0)?,
            find(order(1), 100)?,
            find(order(1), 200)?,
        ]
        .concat();
        let mut backwards = [
            find(order(-1), 0)?,
            find(order(-1), 100)?,
            find(order(-1), 200)?,
        ]
        .concat();
        let mut sorted = pages.clone();
        sorted.sort();
        sorted.dedup();
        prop_assert_eq!(sorted.len(), DOCUMENTS);
        if keys.is_empty() {
            return Ok(());
        }
        backwards.reverse();
        prop_assert_eq!(pages, backwards, "{:?}", keys);
        Ok(())
    })?;
    Ok(())
}

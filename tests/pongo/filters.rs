//! Filters and sorts, with a real PostgreSQL. Each table names the page of MongoDB's manual that its rows follow.

use emmett_postgresql::pongo::Error;
use serde_json::{Value, json};

use crate::support;

/// A filter or a sort document, and the ids of the documents that it gives, in this order.
type Case = (&'static str, &'static str);

/// The seam to the library: stores the documents, and runs each filter with its sort. Gives the ids, or the message.
fn find_ids(
    documents: &[&str],
    queries: &[(Value, Value)],
) -> anyhow::Result<Vec<Result<String, String>>> {
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("filtered");
    let documents: Vec<Value> = documents
        .iter()
        .map(|text| serde_json::from_str(text))
        .collect::<Result<_, _>>()?;
    collection.insert_many(&documents)?;

    let found = queries.iter().map(|(filter, sort)| {
        let found = collection.find(filter.clone()).sort(sort.clone()).to_vec();
        found
            .map(|found| ids(&found))
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    });
    Ok(found.collect())
}

fn ids(documents: &[Value]) -> String {
    let ids: Vec<&str> = documents
        .iter()
        .map(|document| document["_id"].as_str().unwrap_or("no _id"))
        .collect();
    ids.join(" ")
}

pub(super) fn check_filters(documents: &[&str], cases: &[Case]) -> anyhow::Result<()> {
    check(documents, cases, |filter| {
        Ok((serde_json::from_str(filter)?, json!({"_id": 1})))
    })
}

fn check_sorts(documents: &[&str], cases: &[Case]) -> anyhow::Result<()> {
    check(documents, cases, |sort| {
        Ok((json!({}), serde_json::from_str(sort)?))
    })
}

/// Runs all cases and shows all that differ.
fn check(
    documents: &[&str],
    cases: &[Case],
    query: impl Fn(&str) -> anyhow::Result<(Value, Value)>,
) -> anyhow::Result<()> {
    let queries = cases
        .iter()
        .map(|(text, _)| query(text))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let found = find_ids(documents, &queries)?;

    let differences: Vec<String> = std::iter::zip(cases, found)
        .filter(|((_, expected), found)| found.as_deref() != Ok(expected))
        .map(|((text, expected), found)| {
            format!("{text}\n  expected {expected}\n  found    {found:?}")
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

pub(super) const ORDERS: &[&str] = &[
    r#"{"_id": "a", "status": "open", "total": 9, "paid": false, "size": {"w": 2, "h": 3, "unit": "cm"}, "tags": ["red", "blank"], "dims": [14, 21]}"#,
    r#"{"_id": "b", "status": "open", "total": 10, "paid": true, "size": {"w": 2, "h": 3}, "tags": ["blank", "red"], "dims": [14]}"#,
    r#"{"_id": "c", "status": "closed", "total": 100, "paid": true, "size": {"h": 3, "w": 2}, "tags": "red", "dims": [5, 30]}"#,
    r#"{"_id": "d", "status": "parked", "total": 2.5, "size": {"unit": "in"}, "tags": [], "dims": 21}"#,
    r#"{"_id": "e", "status": "Open", "total": "10", "size": {}, "tags": [["red", "blank"]]}"#,
    r#"{"_id": "f", "total": null, "size": 3}"#,
];

// https://www.mongodb.com/docs/manual/tutorial/query-documents/
// and the pages $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin of /reference/operator/query/
#[test]
fn fields_compare_by_value_and_only_within_their_type() -> anyhow::Result<()> {
    check_filters(
        ORDERS,
        &[
            ("{}", "a b c d e f"),
            (r#"{"status": "open"}"#, "a b"),
            (r#"{"status": {"$eq": "open"}}"#, "a b"),
            (r#"{"status": "nobody"}"#, ""),
            (r#"{"status": ""}"#, ""),
            (r#"{"total": 10}"#, "b"),
            (r#"{"total": 10.0}"#, "b"),
            (r#"{"total": 1e1}"#, "b"),
            (r#"{"total": "10"}"#, "e"),
            (r#"{"paid": true}"#, "b c"),
            (r#"{"paid": false}"#, "a"),
            (r#"{"status": "open", "total": 9}"#, "a"),
            (r#"{"status": {"$ne": "open"}}"#, "c d e f"),
            (r#"{"total": {"$ne": null}}"#, "a b c d e"),
            (r#"{"total": {"$gt": 9}}"#, "b c"),
            (r#"{"total": {"$gte": 9}}"#, "a b c"),
            (r#"{"total": {"$lt": 10}}"#, "a d"),
            (r#"{"total": {"$lte": 10}}"#, "a b d"),
            (r#"{"total": {"$gt": -1}}"#, "a b c d"),
            (r#"{"total": {"$gte": 9, "$lt": 100}}"#, "a b"),
            (r#"{"total": {"$gte": "1"}}"#, "e"),
            (r#"{"total": {"$gte": 1, "$lte": "2"}}"#, ""),
            (r#"{"status": {"$gt": "a"}}"#, "a b c d"),
            (r#"{"status": {"$lt": "a"}}"#, "e"),
            (r#"{"status": {"$gte": "open", "$lte": "parked"}}"#, "a b d"),
            (r#"{"paid": {"$gt": false}}"#, "b c"),
            (r#"{"paid": {"$gte": false}}"#, "a b c"),
            (r#"{"paid": {"$lt": true}}"#, "a"),
            (r#"{"status": {"$in": ["open", "parked"]}}"#, "a b d"),
            (r#"{"total": {"$in": [9, "10", null]}}"#, "a e f"),
            (r#"{"total": {"$in": []}}"#, ""),
            (r#"{"total": {"$nin": []}}"#, "a b c d e f"),
            (r#"{"status": {"$nin": ["open", "parked"]}}"#, "c e f"),
            (r#"{"status": {"$nin": ["open", null]}}"#, "c d e"),
        ],
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/query-logical/
#[test]
fn logical_operators_keep_documents_without_the_field() -> anyhow::Result<()> {
    check_filters(
        ORDERS,
        &[
            (
                r#"{"$and": [{"status": "open"}, {"total": {"$gt": 9}}]}"#,
                "b",
            ),
            (
                r#"{"$and": [{"total": {"$gt": 9}}, {"total": {"$lt": 50}}]}"#,
                "b",
            ),
            (r#"{"$or": [{"status": "closed"}, {"total": 9}]}"#, "a c"),
            (
                r#"{"status": "open", "$or": [{"total": 9}, {"total": 100}]}"#,
                "a",
            ),
            (
                r#"{"$or": [{"paid": true}, {"$and": [{"status": "open"}, {"total": 9}]}]}"#,
                "a b c",
            ),
            (r#"{"$or": [{}]}"#, "a b c d e f"),
            (r#"{"$nor": [{"status": "open"}, {"total": 100}]}"#, "d e f"),
            (r#"{"$nor": [{"paid": true}]}"#, "a d e f"),
            (r#"{"$nor": [{}]}"#, ""),
            (r#"{"total": {"$not": {"$gt": 9}}}"#, "a d e f"),
            (r#"{"total": {"$not": {"$gte": 9, "$lte": 10}}}"#, "c d e f"),
            (r#"{"paid": {"$not": {"$eq": true}}}"#, "a d e f"),
            (r#"{"paid": {"$not": {"$ne": true}}}"#, "b c"),
            (
                r#"{"status": {"$not": {"$in": ["open", "closed"]}}}"#,
                "d e f",
            ),
            (r#"{"$nor": [{"$nor": [{"status": "open"}]}]}"#, "a b"),
        ],
    )
}

// https://www.mongodb.com/docs/manual/tutorial/query-embedded-documents/
// JSONB has no order of keys, so here, other than in MongoDB, objects are equal in any order.
#[test]
fn embedded_objects_are_equal_as_a_whole_or_searched_by_path() -> anyhow::Result<()> {
    check_filters(
        ORDERS,
        &[
            (r#"{"size": {"w": 2, "h": 3}}"#, "b c"),
            (r#"{"size": {"$eq": {"w": 2, "h": 3}}}"#, "b c"),
            (r#"{"size": {"w": 2}}"#, ""),
            (r#"{"size": {}}"#, "e"),
            (r#"{"size": {"$ne": {}}}"#, "a b c d f"),
            (r#"{"size": {"$in": [{}, 3]}}"#, "e f"),
            (r#"{"size.w": 2}"#, "a b c"),
            (r#"{"size.unit": "cm"}"#, "a"),
            (r#"{"size.h": {"$lt": 15}}"#, "a b c"),
            (r#"{"size.unit": {"$ne": "cm"}}"#, "b c d e f"),
            (r#"{"size.w": 2, "size.unit": "cm"}"#, "a"),
            (r#"{"size.w.deeper": {"$exists": true}}"#, ""),
        ],
    )
}

// https://www.mongodb.com/docs/manual/tutorial/query-arrays/
#[test]
fn arrays_are_equal_as_a_whole_or_by_an_element() -> anyhow::Result<()> {
    check_filters(
        ORDERS,
        &[
            (r#"{"tags": ["red", "blank"]}"#, "a e"),
            (r#"{"tags": ["blank", "red"]}"#, "b"),
            (r#"{"tags": "red"}"#, "a b c"),
            (r#"{"tags": []}"#, "d"),
            (r#"{"tags": [["red", "blank"]]}"#, "e"),
            (r#"{"tags": {"$ne": "red"}}"#, "d e f"),
            (r#"{"tags": {"$in": ["blank", "nothing"]}}"#, "a b"),
            (r#"{"tags": {"$in": [["blank", "red"], []]}}"#, "b d"),
            (r#"{"tags": {"$nin": ["blank"]}}"#, "c d e f"),
            (r#"{"dims": {"$gt": 25}}"#, "c"),
            (r#"{"dims": {"$gt": 15, "$lt": 20}}"#, "a c"),
            (r#"{"dims": {"$lt": 10}}"#, "c"),
            (r#"{"dims": 21}"#, "a d"),
            (r#"{"dims": {"$not": {"$gt": 15}}}"#, "b e f"),
            (r#"{"dims.1": {"$gt": 25}}"#, "c"),
            (r#"{"dims.0": 14}"#, "a b"),
            (r#"{"dims.0": 21}"#, ""),
            (r#"{"dims.0": {"$in": [14, 5]}}"#, "a b c"),
            (r#"{"dims.2": {"$exists": true}}"#, ""),
            (r#"{"dims.1": {"$exists": false}}"#, "b d e f"),
            (r#"{"dims.-1": 21}"#, ""),
            (r#"{"dims.01": 21}"#, ""),
            (r#"{"dims.99999999999": 21}"#, ""),
            (r#"{"tags.0": ["red", "blank"]}"#, "e"),
            (r#"{"tags.0": "red"}"#, "a"),
        ],
    )
}

const STOCK: &[&str] = &[
    r#"{"_id": "a", "items": [{"sku": "x", "qty": 5, "lots": [{"no": 1}]}, {"sku": "y", "qty": 15, "lots": [{"no": 2}, {"no": 3}]}]}"#,
    r#"{"_id": "b", "items": [{"sku": "y", "qty": 5}]}"#,
    r#"{"_id": "c", "items": {"sku": "x", "qty": 40, "lots": {"no": 3}}}"#,
    r#"{"_id": "d", "items": [{"sku": ["x", "z"]}, 7, "x"]}"#,
    r#"{"_id": "e", "items": []}"#,
    r#"{"_id": "f", "items": [[{"sku": "x"}]]}"#,
    r#"{"_id": "g", "items": {"0": {"sku": "k"}, "-1": "m"}}"#,
    r#"{"_id": "h", "items": [{"0": "n"}, {"sku": "x", "-1": "m"}]}"#,
];

// https://www.mongodb.com/docs/manual/tutorial/query-array-of-documents/
#[test]
fn dotted_paths_look_into_arrays_of_objects() -> anyhow::Result<()> {
    check_filters(
        STOCK,
        &[
            (r#"{"items.sku": "x"}"#, "a c d h"),
            (r#"{"items.sku": "z"}"#, "d"),
            (r#"{"items.sku": ["x", "z"]}"#, "d"),
            (r#"{"items.sku": {"$in": ["y", "z"]}}"#, "a b d"),
            (r#"{"items.sku": {"$ne": "x"}}"#, "b e f g"),
            (r#"{"items": {"sku": "y", "qty": 5}}"#, "b"),
            (r#"{"items.qty": {"$lte": 5}}"#, "a b"),
            (r#"{"items.qty": {"$gt": 10, "$lte": 20}}"#, "a"),
            (r#"{"items.qty": {"$gt": 6, "$lt": 10}}"#, "a"),
            (r#"{"items.lots.no": 3}"#, "a c"),
            (r#"{"items.lots.no": {"$in": [1, 2]}}"#, "a"),
            (r#"{"items.lots": {"no": 3}}"#, "a c"),
            (r#"{"items.lots": [{"no": 1}]}"#, "a"),
            (r#"{"items.0.sku": "x"}"#, "a d f"),
            (r#"{"items.1.sku": "x"}"#, "h"),
            (r#"{"items.0.sku": "k"}"#, "g"),
            (r#"{"items.0": "n"}"#, "h"),
            (r#"{"items.1": 7}"#, "d"),
            (r#"{"items.-1": "m"}"#, "g h"),
            (r#"{"items.lots.0.no": 2}"#, "a"),
            (r#"{"items.lots.no": {"$not": {"$gte": 1}}}"#, "b d e f g h"),
        ],
    )
}

const NULLS: &[&str] = &[
    r#"{"_id": "array", "a": [1, "text"]}"#,
    r#"{"_id": "array-with-null", "a": [1, null]}"#,
    r#"{"_id": "empty-array", "a": []}"#,
    r#"{"_id": "empty-object", "a": {}}"#,
    r#"{"_id": "missing"}"#,
    r#"{"_id": "nested-array", "a": [[null]]}"#,
    r#"{"_id": "null", "a": null}"#,
    r#"{"_id": "number", "a": 4}"#,
    r#"{"_id": "object-b", "a": {"b": "hi"}}"#,
    r#"{"_id": "object-b-null", "a": {"b": null}}"#,
    r#"{"_id": "objects-b", "a": [{"b": 1}, {"b": "text"}]}"#,
    r#"{"_id": "objects-b-missing", "a": [{"b": 3}, {}]}"#,
    r#"{"_id": "objects-b-null", "a": [{"b": null}, {"b": 3}]}"#,
];

// https://www.mongodb.com/docs/manual/tutorial/query-for-null-fields/
#[test]
fn null_means_null_or_missing() -> anyhow::Result<()> {
    check_filters(
        NULLS,
        &[
            (r#"{"a": null}"#, "array-with-null missing null"),
            (r#"{"a": {"$gte": null}}"#, "array-with-null missing null"),
            (r#"{"a": {"$lte": null}}"#, "array-with-null missing null"),
            (r#"{"a": {"$gt": null}}"#, ""),
            (r#"{"a": {"$lt": null}}"#, ""),
            (
                r#"{"a": {"$in": [null, 4]}}"#,
                "array-with-null missing null number",
            ),
            (
                r#"{"a": {"$nin": [null, 4]}}"#,
                "array empty-array empty-object nested-array object-b object-b-null objects-b objects-b-missing objects-b-null",
            ),
            (r#"{"a": [null]}"#, "nested-array"),
            (
                r#"{"a.b": null}"#,
                "empty-object missing null number object-b-null objects-b-missing objects-b-null",
            ),
            (
                r#"{"a.b": {"$ne": null}}"#,
                "array array-with-null empty-array nested-array object-b objects-b",
            ),
            (
                r#"{"a.b": {"$in": [null, "hi"]}}"#,
                "empty-object missing null number object-b object-b-null objects-b-missing objects-b-null",
            ),
            (r#"{"a": {"$exists": false}}"#, "missing"),
            (
                r#"{"a.b": {"$exists": true}}"#,
                "object-b object-b-null objects-b objects-b-missing objects-b-null",
            ),
            (
                r#"{"a.b": {"$exists": false}}"#,
                "array array-with-null empty-array empty-object missing nested-array null number",
            ),
            (
                r#"{"a": {"$exists": true, "$eq": null}}"#,
                "array-with-null null",
            ),
            (r#"{"a.b.c": {"$exists": true}}"#, ""),
            (r#"{"a.b.c": {"$ne": null}, "a": {"$in": [4, {}]}}"#, ""),
            (
                r#"{"a.1": null, "a": {"$gte": 1}}"#,
                "array-with-null number",
            ),
        ],
    )
}

const VALUES: &[&str] = &[
    r#"{"_id": "array", "v": [0, 5]}"#,
    r#"{"_id": "empty-array", "v": []}"#,
    r#"{"_id": "false", "v": false}"#,
    r#"{"_id": "missing"}"#,
    r#"{"_id": "null", "v": null}"#,
    r#"{"_id": "number-1", "v": -3}"#,
    r#"{"_id": "number-2", "v": 2.5}"#,
    r#"{"_id": "number-3", "v": 10}"#,
    r#"{"_id": "number-4", "v": 9007199254740993}"#,
    r#"{"_id": "number-5", "v": 18446744073709551615}"#,
    r#"{"_id": "number-6", "v": 1e300}"#,
    r#"{"_id": "object", "v": {"x": 1}}"#,
    r#"{"_id": "string-1", "v": ""}"#,
    r#"{"_id": "string-2", "v": "10"}"#,
    r#"{"_id": "string-3", "v": "Z"}"#,
    r#"{"_id": "string-4", "v": "a"}"#,
    r#"{"_id": "string-5", "v": "it's \"quoted\" \\ $1 \n"}"#,
    r#"{"_id": "string-6", "v": "é"}"#,
    r#"{"_id": "string-7", "v": "😀"}"#,
    r#"{"_id": "true", "v": true}"#,
];

// https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/ ("Numeric Types", "Strings")
// and, for ranges that keep to their type, "type bracketing" in /reference/method/db.collection.find/
#[test]
fn numbers_are_exact_and_strings_compare_byte_by_byte() -> anyhow::Result<()> {
    check_filters(
        VALUES,
        &[
            (r#"{"v": 9007199254740993}"#, "number-4"),
            (r#"{"v": 9007199254740992}"#, ""),
            (r#"{"v": 18446744073709551615}"#, "number-5"),
            (
                r#"{"v": {"$gt": 18446744073709551614}}"#,
                "number-5 number-6",
            ),
            (r#"{"v": 1e300}"#, "number-6"),
            (r#"{"v": -3.0}"#, "number-1"),
            (r#"{"v": {"$lt": 0}}"#, "number-1"),
            (r#"{"v": {"$lte": -0.0}}"#, "array number-1"),
            (r#"{"v": {"$lt": 1e-300}}"#, "array number-1"),
            (
                r#"{"v": {"$gte": ""}}"#,
                "string-1 string-2 string-3 string-4 string-5 string-6 string-7",
            ),
            (
                r#"{"v": {"$gt": "Z"}}"#,
                "string-4 string-5 string-6 string-7",
            ),
            (r#"{"v": {"$lt": "a"}}"#, "string-1 string-2 string-3"),
            (r#"{"v": {"$gt": "z"}}"#, "string-6 string-7"),
            (r#"{"v": {"$gte": "é", "$lt": "😀"}}"#, "string-6"),
            (r#"{"v": ""}"#, "string-1"),
            (r#"{"v": "😀"}"#, "string-7"),
            (r#"{"v": "it's \"quoted\" \\ $1 \n"}"#, "string-5"),
            (
                r#"{"v": {"$in": ["it's \"quoted\" \\ $1 \n", "10", 10]}}"#,
                "number-3 string-2 string-5",
            ),
            (
                r#"{"v": {"$gt": "it's \"quoted\" \\ $1 ", "$lt": "j"}}"#,
                "string-5",
            ),
            (r#"{"v": {"$lte": true}}"#, "false true"),
            (r#"{"v": {"$gt": true}}"#, ""),
        ],
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/query/in/
#[test]
fn a_long_list_finds_what_a_short_one_finds() -> anyhow::Result<()> {
    let long: Vec<Value> = (-3..2000)
        .map(Value::from)
        .chain([json!("a"), json!(null), json!({"x": 1})])
        .collect();
    let filter = json!({"v": {"$in": long}});
    let negated = json!({"$nor": [filter.clone()]});

    let by_id = json!({"_id": 1});
    let found = find_ids(VALUES, &[(filter, by_id.clone()), (negated, by_id)])?;

    let expected = "array missing null number-1 number-3 object string-4";
    let others = "empty-array false number-2 number-4 number-5 number-6 string-1 string-2 string-3 string-5 string-6 \
                  string-7 true";
    assert_eq!(found, [Ok(expected.to_owned()), Ok(others.to_owned())]);
    Ok(())
}

const ODD_NAMES: &[&str] = &[
    r#"{"_id": "a", "it's": 1, "with \"quotes\"": {"back\\slash": 2}, "größe": {"😀": 3}, "{a,b}": 4, "0": 5}"#,
    r#"{"_id": "b", "a.b": 1, "$1": 2, " ": 3, "NULL": 4, "'; DROP TABLE x; --": 5, "line\nbreak": [6]}"#,
    r#"{"_id": "c", "nested": {"_id": "inner", "_version": 9}, "__proto__": 1}"#,
];

// https://www.mongodb.com/docs/manual/core/document/#field-names
#[test]
fn names_of_any_characters_are_taken_as_they_are() -> anyhow::Result<()> {
    check_filters(
        ODD_NAMES,
        &[
            (r#"{"it's": 1}"#, "a"),
            (r#"{"with \"quotes\".back\\slash": 2}"#, "a"),
            (r#"{"with \"quotes\".back\\slash": {"$in": [2, {}]}}"#, "a"),
            (r#"{"größe.😀": {"$gte": 3}}"#, "a"),
            (r#"{"{a,b}": 4}"#, "a"),
            (r#"{"0": 5}"#, "a"),
            (r#"{"a.b": 1}"#, ""),
            (r#"{" ": 3}"#, "b"),
            (r#"{"NULL": 4}"#, "b"),
            (r#"{"'; DROP TABLE x; --": {"$lte": 5}}"#, "b"),
            (r#"{"line\nbreak.0": 6}"#, "b"),
            (r#"{"nested._id": "inner"}"#, "c"),
            (r#"{"nested._version": {"$gt": 8}}"#, "c"),
            (r#"{"__proto__": 1}"#, "c"),
        ],
    )
}

#[test]
fn a_name_of_300_characters_is_a_name() -> anyhow::Result<()> {
    let name = "ü".repeat(300);
    let document = json!({"_id": "a", &name: {"x": 1}}).to_string();
    let filter = json!({format!("{name}.x"): {"$gte": 1, "$in": [1]}});

    let found = find_ids(&[&document], &[(filter, json!({&name: -1}))])?;

    assert_eq!(found, [Ok("a".to_owned())]);
    Ok(())
}

// https://www.mongodb.com/docs/manual/core/document/#the-_id-field
#[test]
fn id_is_the_column_and_compares_as_text() -> anyhow::Result<()> {
    check_filters(
        ORDERS,
        &[
            (r#"{"_id": "b"}"#, "b"),
            (r#"{"_id": {"$in": ["f", "a", "a", "unknown"]}}"#, "a f"),
            (r#"{"_id": {"$in": []}}"#, ""),
            (r#"{"_id": {"$gt": "B", "$lte": "c"}}"#, "a b c"),
            (r#"{"_id": {"$ne": "a"}, "status": "open"}"#, "b"),
            (r#"{"_id": {"$nin": ["a", "b", "c"]}}"#, "d e f"),
            (r#"{"_id": {"$not": {"$gte": "b"}}}"#, "a"),
            (r#"{"_id": {"$exists": true}}"#, "a b c d e f"),
            (r#"{"$or": [{"_id": "d"}, {"total": 9}]}"#, "a d"),
            (r#"{"_version": 1, "_id": "d"}"#, "d"),
            (r#"{"_version": {"$gt": 1}}"#, ""),
            (r#"{"_version": {"$in": [1, 2]}, "_id": {"$lt": "b"}}"#, "a"),
        ],
    )
}

// https://www.mongodb.com/docs/manual/reference/method/cursor.sort/
// The order among types is JSONB's; MongoDB has objects and arrays before booleans.
#[test]
fn sorting_is_a_total_order_over_every_type() -> anyhow::Result<()> {
    check_sorts(
        VALUES,
        &[
            (
                r#"{"v": 1}"#,
                "empty-array missing null string-1 string-2 string-3 string-4 string-5 string-6 string-7 \
                 number-1 number-2 number-3 number-4 number-5 number-6 false true array object",
            ),
            (
                r#"{"v": -1}"#,
                "object array true false number-6 number-5 number-4 number-3 number-2 number-1 \
                 string-7 string-6 string-5 string-4 string-3 string-2 string-1 null missing empty-array",
            ),
            (
                r#"{"v": 1, "_id": -1}"#,
                "empty-array null missing string-1 string-2 string-3 string-4 string-5 string-6 string-7 \
                 number-1 number-2 number-3 number-4 number-5 number-6 false true array object",
            ),
        ],
    )
}

// https://www.mongodb.com/docs/manual/reference/method/cursor.sort/
#[test]
fn later_keys_order_what_earlier_ones_leave_equal() -> anyhow::Result<()> {
    check_sorts(
        &[
            r#"{"_id": "a", "total": 10, "customer": {"name": "Zoe"}}"#,
            r#"{"_id": "b", "total": 9, "customer": {"name": "adam"}}"#,
            r#"{"_id": "c", "total": 10.0, "customer": {"name": "Bob"}}"#,
            r#"{"_id": "d", "total": 100}"#,
        ],
        &[
            ("{}", "a b c d"),
            (r#"{"_id": -1}"#, "d c b a"),
            (r#"{"total": 1}"#, "b a c d"),
            (r#"{"total": -1}"#, "d c a b"),
            (r#"{"customer.name": 1}"#, "d c a b"),
            (r#"[{"total": -1}, {"customer.name": 1}]"#, "d c a b"),
            (r#"[{"total": 1}, {"customer.name": -1}]"#, "b a c d"),
            (r#"[{"_version": 1}, {"_id": -1}]"#, "d c b a"),
        ],
    )
}

// The manual leaves these to the server, which refuses most of them too.
#[test]
fn a_filter_with_too_many_values_is_refused_and_names_a_way() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let documents = store.collection::<Value>("documents");
    documents.insert_one(&json!({"a": 7}))?;
    let values: Vec<Value> = (0..70_000).map(|number| json!(number)).collect();
    let one_by_one: Vec<Value> = values.iter().map(|value| json!({"a": value})).collect();
    let refused = documents.count_documents(json!({"$or": one_by_one}));
    assert!(
        matches!(&refused, Err(error @ Error::InvalidInput { .. }) if error.to_string().contains("`$in`")),
        "{refused:?}"
    );
    assert_eq!(documents.count_documents(json!({"a": {"$in": values}}))?, 1);
    Ok(())
}

#[test]
fn a_wrong_filter_is_refused_and_named() -> anyhow::Result<()> {
    let cases = [
        (json!([]), "an object"),
        (json!("status"), "an object"),
        (json!(null), "an object"),
        (json!({"$foo": 1}), "`$foo`"),
        (json!({"$not": {"a": 1}}), "`$not`"),
        (json!({"a": {"$near": "x"}}), "`$near`"),
        (json!({"$size": 1}), "`$size`"),
        (json!({"a": {"$type": "int"}}), "bool, number, string"),
        (json!({"a": {"$type": 18}}), "18"),
        (json!({"a": {"$type": []}}), "`$type`"),
        (json!({"a": {"$type": {}}}), "`$type`"),
        (json!({"a": {"$all": "x"}}), "`$all`"),
        (
            json!({"a": {"$all": [1, {"$elemMatch": {"b": 1}}]}}),
            "`$all`",
        ),
        (json!({"a": {"$all": [{"$gt": 1}]}}), "`$gt`"),
        (json!({"a": {"$elemMatch": [1]}}), "`$elemMatch`"),
        (json!({"a": {"$elemMatch": {"$gt": 1, "b": 1}}}), "`$gt`"),
        (json!({"a": {"$elemMatch": {"$foo": 1}}}), "`$foo`"),
        (json!({"a": {"$elemMatch": {"b": {"$foo": 1}}}}), "`$foo`"),
        (json!({"a": {"$elemMatch": {"$or": []}}}), "`$or`"),
        (json!({"a": {"$elemMatch": {"b..c": 1}}}), "`b..c`"),
        (json!({"a": {"$size": -1}}), "`$size`"),
        (json!({"a": {"$size": 0.5}}), "`$size`"),
        (json!({"a": {"$size": "1"}}), "`$size`"),
        (json!({"a": {"$size": {"$gt": 1}}}), "`$size`"),
        (json!({"a": {"$regex": 5}}), "`$regex`"),
        (json!({"a": {"$regex": "x\0"}}), "U+0000"),
        (json!({"a": {"$regex": "x", "$options": "g"}}), "\"g\""),
        (json!({"a": {"$regex": "x", "$options": 1}}), "`$options`"),
        (json!({"a": {"$options": "i"}}), "`$options`"),
        (json!({"a": {"$not": {"$regex": 5}}}), "`$regex`"),
        (
            json!({"a": {"$elemMatch": {"$options": "i"}}}),
            "`$options`",
        ),
        (json!({"a": {"$gt": 1, "b": 2}}), "`$gt`"),
        (json!({"a": {"b": {"$gt": 1}}}), "`$gt`"),
        (json!({"a": {"$in": 5}}), "`$in`"),
        (json!({"a": {"$nin": {}}}), "`$nin`"),
        (json!({"a": {"$in": [{"$gt": 1}]}}), "`$gt`"),
        (json!({"a": {"$exists": 1}}), "`$exists`"),
        (json!({"a": {"$not": 5}}), "`$not`"),
        (json!({"a": {"$not": {}}}), "`$not`"),
        (json!({"a": {"$gt": [1]}}), "`$gt`"),
        (json!({"a": {"$lte": {}}}), "`$lte`"),
        (json!({"$and": []}), "`$and`"),
        (json!({"$or": {}}), "`$or`"),
        (json!({"$nor": [1]}), "`$nor`"),
        (json!({"a": 1, "$or": []}), "`$or`"),
        (json!({"": 1}), "empty"),
        (json!({"a..b": 1}), "`a..b`"),
        (json!({"a.$b": 1}), "`a.$b`"),
        (json!({"a\0": 1}), "U+0000"),
        (json!({"a": ["x\0"]}), "U+0000"),
        (json!({"_id": 5}), "`_id`"),
        (json!({"_id": {"$in": ["a", null]}}), "`_id`"),
        (json!({"_id.x": "a"}), "`_id.x`"),
        (json!({"_version": "1"}), "`_version`"),
        (json!({"_version": 1.5}), "`_version`"),
    ];
    let queries: Vec<(Value, Value)> = cases
        .iter()
        .map(|(filter, _)| (filter.clone(), json!({})))
        .collect();

    let found = find_ids(ORDERS, &queries)?;

    for ((filter, named), found) in std::iter::zip(cases, found) {
        let is_named = found.as_ref().is_err_and(|message| message.contains(named));
        assert!(
            is_named,
            "{filter} should be refused with {named}, got {found:?}"
        );
    }
    Ok(())
}

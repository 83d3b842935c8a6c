//! The operators on arrays, types and texts. Each table names the page of MongoDB's manual that its rows follow.

use super::filters::{ORDERS, check_filters};
use crate::support;
use serde_json::{Value, json};

const SHAPES: &[&str] = &[
    r#"{"_id": "array", "v": [1, "x"]}"#,
    r#"{"_id": "bool", "v": true}"#,
    r#"{"_id": "empty-array", "v": []}"#,
    r#"{"_id": "missing", "w": 1}"#,
    r#"{"_id": "nested-array", "v": [[null]]}"#,
    r#"{"_id": "null", "v": null}"#,
    r#"{"_id": "number", "v": 2.5}"#,
    r#"{"_id": "object", "v": {"x": null}}"#,
    r#"{"_id": "objects", "v": [{"x": 1}, {"x": [2]}, {"x": []}]}"#,
    r#"{"_id": "string", "v": "x"}"#,
];

// https://www.mongodb.com/docs/manual/reference/operator/query/type/
#[test]
fn a_type_is_that_of_the_value_or_of_an_element() -> anyhow::Result<()> {
    check_filters(
        SHAPES,
        &[
            (r#"{"v": {"$type": "null"}}"#, "null"),
            (r#"{"v": {"$type": "bool"}}"#, "bool"),
            (r#"{"v": {"$type": "number"}}"#, "array number"),
            (r#"{"v": {"$type": "string"}}"#, "array string"),
            (
                r#"{"v": {"$type": "array"}}"#,
                "array empty-array nested-array objects",
            ),
            (r#"{"v": {"$type": "object"}}"#, "object objects"),
            (r#"{"v": {"$type": ["null", "bool"]}}"#, "bool null"),
            (r#"{"v": {"$type": 10}}"#, "null"),
            (r#"{"v": {"$type": [8, "string", 2]}}"#, "array bool string"),
            (
                r#"{"v": {"$type": 4}}"#,
                "array empty-array nested-array objects",
            ),
            (r#"{"v": {"$type": 3}}"#, "object objects"),
            (
                r#"{"v": {"$not": {"$type": ["array", "object"]}}}"#,
                "bool missing null number string",
            ),
            (r#"{"v.x": {"$type": "null"}}"#, "object"),
            (r#"{"v.x": {"$type": "number"}}"#, "objects"),
            (r#"{"v.x": {"$type": "array"}}"#, "objects"),
            (r#"{"v.0": {"$type": "array"}}"#, "nested-array"),
            (r#"{"v.0": {"$type": "number"}}"#, "array"),
            (
                r#"{"_id": {"$type": "string"}, "v": {"$type": "bool"}}"#,
                "bool",
            ),
            (r#"{"_id": {"$type": "number"}}"#, ""),
            (r#"{"_version": {"$type": "string"}}"#, ""),
        ],
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/query/size/
#[test]
fn a_size_is_that_of_an_array() -> anyhow::Result<()> {
    check_filters(
        SHAPES,
        &[
            (r#"{"v": {"$size": 0}}"#, "empty-array"),
            (r#"{"v": {"$size": 1}}"#, "nested-array"),
            (r#"{"v": {"$size": 2}}"#, "array"),
            (r#"{"v": {"$size": 2.0}}"#, "array"),
            (r#"{"v": {"$size": 3}}"#, "objects"),
            (r#"{"v": {"$size": 99999999999}}"#, ""),
            (
                r#"{"v": {"$not": {"$size": 0}}}"#,
                "array bool missing nested-array null number object objects string",
            ),
            (r#"{"v.x": {"$size": 0}}"#, "objects"),
            (r#"{"v.x": {"$size": 1}}"#, "objects"),
            (r#"{"v.x": {"$size": 2}}"#, ""),
            (r#"{"v.0": {"$size": 1}}"#, "nested-array"),
            (r#"{"v.0.0": {"$size": 1}}"#, ""),
            (r#"{"v": {"$size": 2, "$type": "string"}}"#, "array"),
            (r#"{"_id": {"$size": 1}}"#, ""),
        ],
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/query/all/
#[test]
fn all_means_each_of_the_values() -> anyhow::Result<()> {
    check_filters(
        ORDERS,
        &[
            (r#"{"tags": {"$all": ["red", "blank"]}}"#, "a b"),
            (r#"{"tags": {"$all": ["red"]}}"#, "a b c"),
            (r#"{"tags": {"$all": ["red", "red"]}}"#, "a b c"),
            (r#"{"tags": {"$all": ["red", "green"]}}"#, ""),
            (r#"{"tags": {"$all": [["red", "blank"]]}}"#, "a e"),
            (r#"{"tags": {"$all": [["red", "blank"], "red"]}}"#, "a"),
            (r#"{"tags": {"$all": []}}"#, ""),
            (r#"{"tags": {"$all": [null]}}"#, "f"),
            (r#"{"tags": {"$all": [[]]}}"#, "d"),
            (
                r#"{"tags": {"$not": {"$all": ["red", "blank"]}}}"#,
                "c d e f",
            ),
            (r#"{"tags": {"$not": {"$all": []}}}"#, "a b c d e f"),
            (r#"{"tags": {"$all": ["red"], "$size": 2}}"#, "a b"),
            (r#"{"dims": {"$all": [21]}}"#, "a d"),
            (r#"{"dims.0": {"$all": [14]}}"#, "a b"),
            (r#"{"size.w": {"$all": [2]}}"#, "a b c"),
            (
                r#"{"dims": {"$all": [{"$elemMatch": {"$gt": 20}}, {"$elemMatch": {"$lt": 10}}]}}"#,
                "c",
            ),
            (r#"{"_id": {"$all": ["a"]}}"#, "a"),
            (r#"{"_id": {"$all": ["a", "b"]}}"#, ""),
        ],
    )
}

const SURVEYS: &[&str] = &[
    r#"{"_id": "a", "scores": [82, 85, 88], "results": [{"product": "abc", "score": 10}, {"product": "xyz", "score": 5}]}"#,
    r#"{"_id": "b", "scores": [75, 88, 89], "results": [{"product": "abc", "score": 8}, {"product": "xyz", "score": 7}]}"#,
    r#"{"_id": "c", "scores": 82, "results": {"product": "xyz", "score": 8}}"#,
    r#"{"_id": "d", "scores": [[81]], "results": [[{"product": "xyz", "score": 8}]]}"#,
    r#"{"_id": "e", "scores": [], "results": [{"product": ["xyz", "abc"], "_id": "r", "_version": 3}, 5, null]}"#,
    r#"{"_id": "f", "pages": [{"results": [{"product": "xyz", "score": 9}]}, {"results": [{"product": "q", "tags": ["s", "t"]}]}]}"#,
    r#"{"_id": "g", "scores": ["81", null, {"81": 81}]}"#,
];

// https://www.mongodb.com/docs/manual/reference/operator/query/elemMatch/
#[test]
fn one_element_satisfies_everything_behind_elem_match() -> anyhow::Result<()> {
    check_filters(
        SURVEYS,
        &[
            (
                r#"{"scores": {"$elemMatch": {"$gte": 80, "$lt": 85}}}"#,
                "a",
            ),
            (r#"{"scores": {"$gte": 80, "$lt": 85}}"#, "a b c"),
            (
                r#"{"results": {"$elemMatch": {"product": "xyz", "score": {"$gte": 8}}}}"#,
                "",
            ),
            (
                r#"{"results": {"$elemMatch": {"product": "xyz", "score": {"$gte": 7}}}}"#,
                "b",
            ),
            (
                r#"{"results": {"$elemMatch": {"product": "xyz"}}}"#,
                "a b e",
            ),
            (
                r#"{"results": {"$elemMatch": {"product": {"$ne": "xyz"}}}}"#,
                "a b",
            ),
            (
                r#"{"results": {"$not": {"$elemMatch": {"product": "xyz"}}}}"#,
                "c d f g",
            ),
            (
                r#"{"results": {"$elemMatch": {"score": null, "product": "xyz"}}}"#,
                "e",
            ),
            (r#"{"results": {"$elemMatch": {"_id": "r"}}}"#, "e"),
            (
                r#"{"results": {"$elemMatch": {"_version": {"$gt": 2}}}}"#,
                "e",
            ),
            (r#"{"results": {"$elemMatch": {"$eq": null}}}"#, "e"),
            (r#"{"results": {"$elemMatch": {"$in": [5, 6]}}}"#, "e"),
            (r#"{"results": {"$elemMatch": {}}}"#, "a b e"),
            (
                r#"{"results": {"$elemMatch": {"$or": [{"score": 10}, {"score": 7}]}}}"#,
                "a b",
            ),
            (
                r#"{"results": {"$elemMatch": {"$nor": [{"score": {"$exists": true}}], "product": "abc"}}}"#,
                "e",
            ),
            (
                r#"{"results": {"$elemMatch": {"$and": [{"product": "abc"}, {"score": 8}]}}}"#,
                "b",
            ),
            (
                r#"{"pages.results": {"$elemMatch": {"product": "xyz", "score": 9}}}"#,
                "f",
            ),
            (
                r#"{"pages.results": {"$elemMatch": {"product": "q", "score": 9}}}"#,
                "",
            ),
            (
                r#"{"pages": {"$elemMatch": {"results": {"$elemMatch": {"tags": {"$elemMatch": {"$gt": "s"}}}}}}}"#,
                "f",
            ),
            (
                r#"{"pages": {"$elemMatch": {"results.0.tags.1": "t"}}}"#,
                "f",
            ),
            (
                r#"{"pages.0.results": {"$elemMatch": {"product": "xyz"}}}"#,
                "f",
            ),
            (r#"{"results.0": {"$elemMatch": {"score": 8}}}"#, "d"),
            (
                r#"{"scores": {"$elemMatch": {"$elemMatch": {"$gt": 80}}}}"#,
                "d",
            ),
            (r#"{"scores": {"$elemMatch": {"$size": 1}}}"#, "d"),
            (r#"{"scores": {"$elemMatch": {"$eq": [81]}}}"#, "d"),
            (r#"{"scores": {"$elemMatch": {"$type": "string"}}}"#, "g"),
            (
                r#"{"scores": {"$elemMatch": {"$ne": null, "$not": {"$type": "number"}}}}"#,
                "d g",
            ),
            (r#"{"scores": {"$elemMatch": {"$regex": "^8"}}}"#, "g"),
            (r#"{"scores": {"$elemMatch": {"$exists": false}}}"#, ""),
            (r#"{"scores": {"$elemMatch": {"$all": [88]}}}"#, "a b"),
            (
                r#"{"results": {"$all": [{"$elemMatch": {"product": "xyz", "score": 5}}, {"$elemMatch": {"score": {"$gt": 9}}}]}}"#,
                "a",
            ),
            (r#"{"_id": {"$elemMatch": {"$gt": 1}}}"#, ""),
        ],
    )
}

const TEXTS: &[&str] = &[
    r#"{"_id": "a", "v": "Single LINE description."}"#,
    r#"{"_id": "b", "v": "First line\nSecond line"}"#,
    r#"{"_id": "c", "v": "Many spaces before     line"}"#,
    r#"{"_id": "d", "v": "Multiple\nline description"}"#,
    r#"{"_id": "e", "v": ["abc123", "xyz"]}"#,
    r#"{"_id": "f", "v": [["abc"]], "w": [{"t": "abc"}, {"t": ["abd", 7]}]}"#,
    r#"{"_id": "g", "v": 123}"#,
    r#"{"_id": "h", "v": null}"#,
    r#"{"_id": "i"}"#,
    r#"{"_id": "j", "v": {"abc": "abc"}}"#,
    r#"{"_id": "k", "v": "it's \\ $1 😀"}"#,
    r#"{"_id": "l", "v": ""}"#,
];

// https://www.mongodb.com/docs/manual/reference/operator/query/regex/
#[test]
fn a_regular_expression_matches_in_strings_and_their_arrays() -> anyhow::Result<()> {
    check_filters(
        TEXTS,
        &[
            (r#"{"v": {"$regex": "line"}}"#, "b c d"),
            (r#"{"v": {"$regex": "LINE", "$options": "i"}}"#, "a b c d"),
            (r#"{"v": {"$regex": "(?i)LINE"}}"#, "a b c d"),
            (r#"{"v": {"$regex": "^S"}}"#, "a"),
            (r#"{"v": {"$regex": "^S", "$options": "m"}}"#, "a b"),
            (r#"{"v": {"$regex": "^s", "$options": "im"}}"#, "a b"),
            (r#"{"v": {"$regex": "(?m)^s", "$options": "i"}}"#, "a b"),
            (r#"{"v": {"$regex": "e$", "$options": ""}}"#, "b c"),
            (r#"{"v": {"$regex": "^First line$"}}"#, ""),
            (r#"{"v": {"$regex": "^First line$", "$options": "m"}}"#, "b"),
            (r#"{"v": {"$regex": "m.*line"}}"#, ""),
            (r#"{"v": {"$regex": "M.*line"}}"#, "c"),
            (r#"{"v": {"$regex": "M.*line", "$options": "s"}}"#, "c d"),
            (r#"{"v": {"$regex": "m.*^line", "$options": "sim"}}"#, "d"),
            (
                r#"{"v": {"$regex": "l i n e # the word\n", "$options": "x"}}"#,
                "b c d",
            ),
            (r#"{"v": {"$regex": "\\bline\\b"}}"#, "b c d"),
            (r#"{"v": {"$regex": "\\Bine"}}"#, "b c d"),
            (r#"{"v": {"$regex": "\\d{3}"}}"#, "e"),
            (r#"{"v": {"$regex": "^abc"}}"#, "e"),
            (r#"{"v": {"$regex": "^xyz$"}}"#, "e"),
            (r#"{"v": {"$regex": "abc(?!1)"}}"#, ""),
            (
                r#"{"v": {"$regex": "^a", "$options": "i", "$type": "array"}}"#,
                "e",
            ),
            (r#"{"w.t": {"$regex": "^ab[cd]$"}}"#, "f"),
            (r#"{"w.1.t": {"$regex": "d$"}}"#, "f"),
            (r#"{"w.0.t": {"$regex": "d$"}}"#, ""),
            (r#"{"v.0": {"$regex": "^abc"}}"#, "e"),
            (r#"{"v": {"$regex": "\\\\ \\$1 😀$"}}"#, "k"),
            (r#"{"v": {"$regex": "'"}}"#, "k"),
            (r#"{"v": {"$regex": "^$"}}"#, "l"),
            (r#"{"v": {"$regex": ""}}"#, "a b c d e k l"),
            (
                r#"{"v": {"$not": {"$regex": "line", "$options": "i"}}}"#,
                "e f g h i j k l",
            ),
            (
                r#"{"$nor": [{"v": {"$regex": "line"}}, {"v": {"$regex": "^.{0,30}$"}}]}"#,
                "f g h i j",
            ),
            (r#"{"w": {"$elemMatch": {"t": {"$regex": "c$"}}}}"#, "f"),
            (r#"{"_id": {"$regex": "^[AB]$", "$options": "i"}}"#, "a b"),
            (r#"{"_version": {"$regex": "1"}}"#, ""),
        ],
    )
}

// Whether a document has a string to match in must not decide.
#[test]
fn a_regular_expression_that_is_none_is_always_refused() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("empty");
    for filter in [
        json!({"name": {"$regex": "a("}}),
        json!({"name": {"$not": {"$regex": "[z-a]"}}}),
        json!({"_id": {"$regex": "*"}}),
        json!({"names": {"$elemMatch": {"$regex": "a**"}}}),
        json!({"names": {"$elemMatch": {"name": {"$regex": "a\\"}}}}),
        json!({"$or": [{"x": 1}, {"name": {"$regex": "a(?i)b"}}]}),
        json!({"name": {"$regex": "***=literally"}}),
    ] {
        let found = collection.find(filter.clone()).to_vec();
        let message = found.map_err(|error| format!("{:#}", anyhow::Error::from(error)));
        assert!(
            message.as_ref().is_err_and(|message| message
                .contains("the filter is not valid: the regular expression")
                && message.contains(" is not valid: ")),
            "{filter}: {message:?}"
        );
    }
    Ok(())
}

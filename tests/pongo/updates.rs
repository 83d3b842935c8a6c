//! Updates, with a real PostgreSQL. Each table names the page of MongoDB's manual that its rows follow.

use anyhow::Context;
use emmett_postgresql::pongo::{Collection, Update};
use serde_json::{Value, json};

use crate::support;

/// The seam to the library: stores the document, updates it, and reads it back without its id and version.
fn apply(
    collection: &Collection<'_, Value>,
    document: Value,
    update: impl Into<Update>,
) -> Result<Value, String> {
    let applied = || {
        let id = collection.insert_one(&document)?.id;
        collection.update_one(json!({"_id": id}), update)?;
        collection.find_one(json!({"_id": id}))
    };
    let found: emmett_postgresql::pongo::Result<Option<Value>> = applied();
    match found {
        Ok(found) => {
            let mut document = found.unwrap_or_default();
            if let Some(fields) = document.as_object_mut() {
                fields.remove("_id");
                fields.remove("_version");
            }
            Ok(document)
        }
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    }
}

/// Runs all cases and shows all that differ. Each line has a document, an update, and the document that it makes, or a part
/// of the message that it is refused with.
fn check(cases: &str) -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("updated");
    let mut differences = Vec::new();
    for case in cases.lines().map(str::trim).filter(|case| !case.is_empty()) {
        let (document, rest) = case.split_once("  <-  ").context(case.to_owned())?;
        let (update, expected) = rest.split_once("  =>  ").context(case.to_owned())?;
        let update: Value = serde_json::from_str(update)?;
        let found = apply(&collection, serde_json::from_str(document)?, update);
        let is_expected = match &found {
            Ok(found) => serde_json::from_str::<Value>(expected).is_ok_and(|value| value == *found),
            Err(message) => message.contains(expected),
        };
        if !is_expected {
            differences.push(format!("{case}\n  found {found:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

// https://www.mongodb.com/docs/manual/reference/operator/update/set/
#[test]
fn set_replaces_or_creates_fields() -> anyhow::Result<()> {
    check(
        r#"
        {"a": 1}  <-  {"$set": {"a": 2}}  =>  {"a": 2}
        {"a": 1}  <-  {"$set": {"b": "x"}}  =>  {"a": 1, "b": "x"}
        {"a": 1}  <-  {"$set": {"a": null}}  =>  {"a": null}
        {"a": {"b": 1, "c": 2}}  <-  {"$set": {"a": {"b": 3}}}  =>  {"a": {"b": 3}}
        {"a": {"b": 1, "c": 2}}  <-  {"$set": {"a.b": 3}}  =>  {"a": {"b": 3, "c": 2}}
        {}  <-  {"$set": {"a.b.c": 1}}  =>  {"a": {"b": {"c": 1}}}
        {"a": {}}  <-  {"$set": {"a.b.c": []}}  =>  {"a": {"b": {"c": []}}}
        {"a": 1}  <-  {"$set": {"b": 2, "c.d": 3}}  =>  {"a": 1, "b": 2, "c": {"d": 3}}
        {"a": 1}  <-  {"$set": {}}  =>  {"a": 1}
        {"a": 1}  <-  {"$set": {"a": {"$b": 1, "c.d": 2}}}  =>  {"a": {"$b": 1, "c.d": 2}}
        {"a": 1}  <-  {"$setOnInsert": {"a": 2}}  =>  {"a": 1}
        {"a": 1}  <-  {"$setOnInsert": {"b": 2}, "$set": {"c": 3}}  =>  {"a": 1, "c": 3}
        "#,
    )
}

// https://www.mongodb.com/docs/manual/core/document/#dot-notation and /reference/operator/update/set/
#[test]
fn a_number_in_a_path_is_a_position_only_where_there_is_an_array() -> anyhow::Result<()> {
    check(
        r#"
        {"a": [1, 2]}  <-  {"$set": {"a.1": 3}}  =>  {"a": [1, 3]}
        {"a": [1]}  <-  {"$set": {"a.1": 2}}  =>  {"a": [1, 2]}
        {"a": [1]}  <-  {"$set": {"a.3": 2}}  =>  {"a": [1, null, null, 2]}
        {"a": []}  <-  {"$set": {"a.1.b": 2}}  =>  {"a": [null, {"b": 2}]}
        {"a": [{"b": 1}]}  <-  {"$set": {"a.0.b": 2}}  =>  {"a": [{"b": 2}]}
        {"a": [{"b": 1}]}  <-  {"$set": {"a.0.c": 2}}  =>  {"a": [{"b": 1, "c": 2}]}
        {"a": [[1]]}  <-  {"$set": {"a.0.2": 3}}  =>  {"a": [[1, null, 3]]}
        {"a": {"0": 1}}  <-  {"$set": {"a.0": 2}}  =>  {"a": {"0": 2}}
        {"a": {}}  <-  {"$set": {"a.0": 2}}  =>  {"a": {"0": 2}}
        {}  <-  {"$set": {"a.0": 2}}  =>  {"a": {"0": 2}}
        {}  <-  {"$set": {"0": 2}}  =>  {"0": 2}
        {"a": {"-1": 1}}  <-  {"$set": {"a.-1": 2}}  =>  {"a": {"-1": 2}}
        {"a": [1]}  <-  {"$set": {"a.-1": 2}}  =>  cannot create the field `-1` in `a`, which holds an array
        {"a": [1]}  <-  {"$set": {"a.00": 2}}  =>  cannot create the field `00` in `a`
        {"a": [1]}  <-  {"$set": {"a.+0": 2}}  =>  cannot create the field `+0` in `a`
        {"a": [1]}  <-  {"$set": {"a. 0": 2}}  =>  cannot create the field ` 0` in `a`
        {"a": [1]}  <-  {"$set": {"a.10002.b": 2}}  =>  `$set` of `a.10002.b` would put more than 10000 nulls
        {"a": [1]}  <-  {"$set": {"a.999999999999999999999": 2}}  =>  cannot create the field `999999999999999999999`
        "#,
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/update/ (error PathNotViable)
#[test]
fn a_path_through_a_value_that_has_no_fields_is_refused() -> anyhow::Result<()> {
    check(
        r#"
        {"a": 1}  <-  {"$set": {"a.b": 2}}  =>  `$set` of `a.b` cannot create the field `b` in `a`, which holds a number
        {"a": null}  <-  {"$set": {"a.b": 2}}  =>  cannot create the field `b` in `a`, which holds null
        {"a": "x"}  <-  {"$set": {"a.0": 2}}  =>  cannot create the field `0` in `a`, which holds a string
        {"a": [1]}  <-  {"$set": {"a.b": 2}}  =>  cannot create the field `b` in `a`, which holds an array
        {"a": {"b": true}}  <-  {"$inc": {"a.b.c.d": 2}}  =>  `$inc` of `a.b.c.d` cannot create the field `c` in `a.b`, which holds a boolean
        {"a": 1}  <-  {"$push": {"a.b": 2}}  =>  `$push` of `a.b` cannot create the field `b`
        {"a": 1}  <-  {"$currentDate": {"a.b": true}}  =>  `$currentDate` of `a.b` cannot create
        {"a": 1, "b": 2}  <-  {"$rename": {"b": "a.b"}}  =>  `$rename` of `a.b` cannot create
        "#,
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/update/unset/
#[test]
fn unset_removes_fields_and_empties_places() -> anyhow::Result<()> {
    check(
        r#"
        {"a": 1, "b": 2}  <-  {"$unset": {"a": ""}}  =>  {"b": 2}
        {"a": {"b": 1, "c": 2}}  <-  {"$unset": {"a.b": 1}}  =>  {"a": {"c": 2}}
        {"a": {"b": 1}}  <-  {"$unset": {"a.b": 1}}  =>  {"a": {}}
        {"a": [1, 2, 3]}  <-  {"$unset": {"a.1": ""}}  =>  {"a": [1, null, 3]}
        {"a": [1]}  <-  {"$unset": {"a.1": ""}}  =>  {"a": [1]}
        {"a": [1]}  <-  {"$unset": {"a.-1": ""}}  =>  {"a": [1]}
        {"a": [{"b": 1}]}  <-  {"$unset": {"a.0.b": ""}}  =>  {"a": [{}]}
        {"a": 1}  <-  {"$unset": {"b": ""}}  =>  {"a": 1}
        {"a": 1}  <-  {"$unset": {"b.c": ""}}  =>  {"a": 1}
        {"a": 1}  <-  {"$unset": {"a.c": ""}}  =>  {"a": 1}
        {"a": null}  <-  {"$unset": {"a": ""}}  =>  {}
        "#,
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/update/inc/ and mul/
#[test]
fn arithmetic_is_exact() -> anyhow::Result<()> {
    check(
        r#"
        {"a": 1}  <-  {"$inc": {"a": 2}}  =>  {"a": 3}
        {"a": 1}  <-  {"$inc": {"a": -2}}  =>  {"a": -1}
        {}  <-  {"$inc": {"a": 2}}  =>  {"a": 2}
        {}  <-  {"$inc": {"a.b": 2.5}}  =>  {"a": {"b": 2.5}}
        {"a": {"b": 1}}  <-  {"$inc": {"a.b": 2}}  =>  {"a": {"b": 3}}
        {"a": [1, 2]}  <-  {"$inc": {"a.1": 2}}  =>  {"a": [1, 4]}
        {"a": 0.1}  <-  {"$inc": {"a": 0.2}}  =>  {"a": 0.3}
        {"a": 9007199254740993}  <-  {"$inc": {"a": 1}}  =>  {"a": 9007199254740994}
        {"a": 18446744073709551614}  <-  {"$inc": {"a": 1}}  =>  {"a": 18446744073709551615}
        {"a": 3}  <-  {"$mul": {"a": 1.1}}  =>  {"a": 3.3}
        {"a": 19.99}  <-  {"$mul": {"a": 1.19}}  =>  {"a": 23.7881}
        {"a": 67.55251520150996}  <-  {"$mul": {"a": 1.19}}  =>  {"a": 80.38749308979685}
        {"a": 0.1}  <-  {"$inc": {"a": 1e-17}}  =>  {"a": 0.1}
        {"a": 1.5}  <-  {"$mul": {"a": 2}}  =>  {"a": 3}
        {"a": 4294967297}  <-  {"$mul": {"a": 2147483649}}  =>  {"a": 9223372043297226753}
        {}  <-  {"$mul": {"a.b": 2}}  =>  {"a": {"b": 0}}
        {"a": 1, "b": 2}  <-  {"$inc": {"a": 1}, "$mul": {"b": 3}}  =>  {"a": 2, "b": 6}
        {"a": "1"}  <-  {"$inc": {"a": 1}}  =>  the update does not fit the document: `$inc` of `a` needs a number, but the field holds a string
        {"a": 1e200}  <-  {"$mul": {"a": 1e108}}  =>  {"a": 1e308}
        {"a": -1e200}  <-  {"$mul": {"a": 1e109}}  =>  `$mul` of `a` makes a number beyond 1.7976931348623157e308
        {"a": 1.7976931348623157e308}  <-  {"$inc": {"a": 1}}  =>  `$inc` of `a` makes a number beyond
        {"a": null}  <-  {"$inc": {"a": 1}}  =>  `$inc` of `a` needs a number, but the field holds null
        {"a": {"b": []}}  <-  {"$mul": {"a.b": 1}}  =>  `$mul` of `a.b` needs a number, but the field holds an array
        {"a": true}  <-  {"$mul": {"a": 1}}  =>  needs a number, but the field holds a boolean
        "#,
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/update/min/ and max/
#[test]
fn min_and_max_compare_in_the_order_of_sorts() -> anyhow::Result<()> {
    check(
        r#"
        {"a": 10}  <-  {"$min": {"a": 9}}  =>  {"a": 9}
        {"a": 9}  <-  {"$min": {"a": 10}}  =>  {"a": 9}
        {"a": 9}  <-  {"$max": {"a": 10}}  =>  {"a": 10}
        {"a": 10}  <-  {"$max": {"a": 9}}  =>  {"a": 10}
        {}  <-  {"$min": {"a": 9}}  =>  {"a": 9}
        {}  <-  {"$max": {"a.b": 9}}  =>  {"a": {"b": 9}}
        {}  <-  {"$max": {"a": null}}  =>  {"a": null}
        {"a": "b"}  <-  {"$min": {"a": "B"}}  =>  {"a": "B"}
        {"a": "a"}  <-  {"$max": {"a": "B"}}  =>  {"a": "a"}
        {"a": "z"}  <-  {"$max": {"a": "ä"}}  =>  {"a": "ä"}
        {"a": "2026-01-01T00:00:00Z"}  <-  {"$max": {"a": "2026-02-01T00:00:00Z"}}  =>  {"a": "2026-02-01T00:00:00Z"}
        {"a": "9"}  <-  {"$min": {"a": 1}}  =>  {"a": "9"}
        {"a": "9"}  <-  {"$max": {"a": 1}}  =>  {"a": 1}
        {"a": 1}  <-  {"$min": {"a": null}}  =>  {"a": null}
        {"a": null}  <-  {"$max": {"a": "x"}}  =>  {"a": "x"}
        {"a": 1}  <-  {"$max": {"a": true}}  =>  {"a": true}
        {"a": true}  <-  {"$max": {"a": [1]}}  =>  {"a": [1]}
        {"a": [1]}  <-  {"$max": {"a": {}}}  =>  {"a": {}}
        "#,
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/update/push/ with each/, position/, slice/ and sort/
#[test]
fn push_appends_inserts_sorts_and_cuts() -> anyhow::Result<()> {
    check(
        r#"
        {"a": [1]}  <-  {"$push": {"a": 2}}  =>  {"a": [1, 2]}
        {"a": [1]}  <-  {"$push": {"a": [2, 3]}}  =>  {"a": [1, [2, 3]]}
        {"a": [1]}  <-  {"$push": {"a": {"b": 2}}}  =>  {"a": [1, {"b": 2}]}
        {"a": [1]}  <-  {"$push": {"a": null}}  =>  {"a": [1, null]}
        {}  <-  {"$push": {"a": 1}}  =>  {"a": [1]}
        {}  <-  {"$push": {"a.b": {}}}  =>  {"a": {"b": [{}]}}
        {"a": [[1]]}  <-  {"$push": {"a.0": 2}}  =>  {"a": [[1, 2]]}
        {"a": [1]}  <-  {"$push": {"a": {"$each": [2, [3]]}}}  =>  {"a": [1, 2, [3]]}
        {}  <-  {"$push": {"a": {"$each": []}}}  =>  {"a": []}
        {"a": [1, 2]}  <-  {"$push": {"a": {"$each": [8, 9], "$position": 0}}}  =>  {"a": [8, 9, 1, 2]}
        {"a": [1, 2]}  <-  {"$push": {"a": {"$each": [9], "$position": 1}}}  =>  {"a": [1, 9, 2]}
        {"a": [1, 2]}  <-  {"$push": {"a": {"$each": [9], "$position": 7}}}  =>  {"a": [1, 2, 9]}
        {"a": [1, 2]}  <-  {"$push": {"a": {"$each": [9], "$position": -1}}}  =>  {"a": [1, 9, 2]}
        {"a": [1, 2]}  <-  {"$push": {"a": {"$each": [9], "$position": -7}}}  =>  {"a": [9, 1, 2]}
        {"a": [1, 2]}  <-  {"$push": {"a": {"$each": [3], "$slice": 2}}}  =>  {"a": [1, 2]}
        {"a": [1, 2]}  <-  {"$push": {"a": {"$each": [3], "$slice": -2}}}  =>  {"a": [2, 3]}
        {"a": [1, 2]}  <-  {"$push": {"a": {"$each": [3], "$slice": 0}}}  =>  {"a": []}
        {"a": [1, 2]}  <-  {"$push": {"a": {"$each": [3], "$slice": -9}}}  =>  {"a": [1, 2, 3]}
        {"a": [3, 1]}  <-  {"$push": {"a": {"$each": [2], "$sort": 1}}}  =>  {"a": [1, 2, 3]}
        {"a": [3, 1]}  <-  {"$push": {"a": {"$each": [2], "$sort": -1, "$slice": 2}}}  =>  {"a": [3, 2]}
        {"a": ["b", "C", 1, null]}  <-  {"$push": {"a": {"$each": ["a"], "$sort": 1}}}  =>  {"a": [null, "C", "a", "b", 1]}
        {"a": [{"n": 1, "s": 5}, {"n": 2, "s": 3}, {"n": 3}]}  <-  {"$push": {"a": {"$each": [{"n": 4, "s": 5}], "$sort": {"s": -1, "n": -1}}}}  =>  {"a": [{"n": 4, "s": 5}, {"n": 1, "s": 5}, {"n": 2, "s": 3}, {"n": 3}]}
        {"a": [{"n": 1, "s": {"t": 5}}, {"n": 2, "s": {"t": 3}}]}  <-  {"$push": {"a": {"$each": [], "$sort": {"s.t": 1}}}}  =>  {"a": [{"n": 2, "s": {"t": 3}}, {"n": 1, "s": {"t": 5}}]}
        {"a": 1}  <-  {"$push": {"a": 1}}  =>  `$push` of `a` needs an array, but the field holds a number
        {"a": null}  <-  {"$push": {"a": 1}}  =>  `$push` of `a` needs an array, but the field holds null
        "#,
    )
}

#[test]
fn a_sort_keeps_the_order_of_equal_elements() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("updated");
    let keyed = |n: u32| json!({"n": n, "s": n * 7 % 3});
    let elements: Vec<Value> = (0..200).map(keyed).collect();
    for direction in [1, -1] {
        let update = json!({"$push": {"a": {"$each": elements, "$sort": {"s": direction}}}});
        let mut expected = elements.clone();
        expected.sort_by_key(|element| element["s"].as_i64().map(|s| s * direction));

        let found = apply(&collection, json!({}), update);

        assert_eq!(found, Ok(json!({"a": expected})));
    }
    Ok(())
}

// https://www.mongodb.com/docs/manual/reference/operator/update/addToSet/
#[test]
fn add_to_set_adds_what_is_not_there() -> anyhow::Result<()> {
    check(
        r#"
        {"a": [1]}  <-  {"$addToSet": {"a": 2}}  =>  {"a": [1, 2]}
        {"a": [1]}  <-  {"$addToSet": {"a": 1}}  =>  {"a": [1]}
        {"a": [1]}  <-  {"$addToSet": {"a": 1.0}}  =>  {"a": [1]}
        {"a": [1]}  <-  {"$addToSet": {"a": "1"}}  =>  {"a": [1, "1"]}
        {"a": [{"b": 1, "c": 2}]}  <-  {"$addToSet": {"a": {"c": 2, "b": 1}}}  =>  {"a": [{"b": 1, "c": 2}]}
        {"a": [{"b": 1, "c": 2}]}  <-  {"$addToSet": {"a": {"b": 1}}}  =>  {"a": [{"b": 1, "c": 2}, {"b": 1}]}
        {"a": [1]}  <-  {"$addToSet": {"a": [1]}}  =>  {"a": [1, [1]]}
        {"a": [1]}  <-  {"$addToSet": {"a": {"$each": [3, 1, 2, 3]}}}  =>  {"a": [1, 3, 2]}
        {"a": [1, 1]}  <-  {"$addToSet": {"a": 1}}  =>  {"a": [1, 1]}
        {}  <-  {"$addToSet": {"a.b": null}}  =>  {"a": {"b": [null]}}
        {}  <-  {"$addToSet": {"a": {"$each": [1, 1]}}}  =>  {"a": [1]}
        {"a": {}}  <-  {"$addToSet": {"a": 1}}  =>  `$addToSet` of `a` needs an array, but the field holds an object
        "#,
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/update/pull/
#[test]
fn pull_takes_out_what_is_equal_or_matches() -> anyhow::Result<()> {
    check(
        r#"
        {"a": [1, 2, 1.0]}  <-  {"$pull": {"a": 1}}  =>  {"a": [2]}
        {"a": [1, 2]}  <-  {"$pull": {"a": 3}}  =>  {"a": [1, 2]}
        {"a": ["x", null]}  <-  {"$pull": {"a": null}}  =>  {"a": ["x"]}
        {"a": [[1, 2], [2, 1]]}  <-  {"$pull": {"a": [1, 2]}}  =>  {"a": [[2, 1]]}
        {}  <-  {"$pull": {"a": 1}}  =>  {}
        {}  <-  {"$pull": {"a.b": {"$gt": 1}}}  =>  {}
        {"a": 1}  <-  {"$pull": {"a.b": 1}}  =>  {"a": 1}
        {"a": {"b": [1, 5, 8]}}  <-  {"$pull": {"a.b": {"$gte": 5}}}  =>  {"a": {"b": [1]}}
        {"a": [1, 5, 8]}  <-  {"$pull": {"a": {"$in": [1, 8]}}}  =>  {"a": [5]}
        {"a": [1]}  <-  {"$pull": {"a": {"$gte": 0}}}  =>  {"a": []}
        {"a": [1, 5, "6"]}  <-  {"$pull": {"a": {"$gte": 5}}}  =>  {"a": [1, "6"]}
        {"a": [{"sku": "x", "n": 1}, {"sku": "y", "n": 2}, 7]}  <-  {"$pull": {"a": {"sku": "x"}}}  =>  {"a": [{"sku": "y", "n": 2}, 7]}
        {"a": [{"sku": "x", "n": 1}, {"sku": "x", "n": 9}]}  <-  {"$pull": {"a": {"sku": "x", "n": {"$gt": 5}}}}  =>  {"a": [{"sku": "x", "n": 1}]}
        {"a": [1, 2, 3], "b": {"c": ["x", "y"]}, "d": [1], "e": 1}  <-  {"$inc": {"e": 1}, "$pull": {"a": {"$gt": 2}, "d": 1, "b.c": {"$lt": "y"}}, "$set": {"b.d": 1}}  =>  {"a": [1, 2], "b": {"c": ["y"], "d": 1}, "d": [], "e": 2}
        {"a": ["x", "xy", 1]}  <-  {"$pull": {"a": {"$regex": "^x."}}}  =>  {"a": ["x", 1]}
        {"a": ["x", "y", 1]}  <-  {"$pull": {"a": {"$type": "string", "$ne": "y"}}}  =>  {"a": ["y", 1]}
        {"a": [{"n": 1}, {"n": 2}, {"n": 3}]}  <-  {"$pull": {"a": {"$or": [{"n": 1}, {"n": {"$gt": 2}}]}}}  =>  {"a": [{"n": 2}]}
        {"a": [{"n": [1, 9]}, {"n": [5]}]}  <-  {"$pull": {"a": {"n": {"$elemMatch": {"$gt": 1, "$lt": 6}}}}}  =>  {"a": [{"n": [1, 9]}]}
        {"a": [{"n": 1}, {}, 1]}  <-  {"$pull": {"a": {}}}  =>  {"a": [1]}
        {"a": "x"}  <-  {"$pull": {"a": "x"}}  =>  `$pull` of `a` needs an array, but the field holds a string
        {"a": "x"}  <-  {"$pull": {"a": {"$gt": 1}}}  =>  `$pull` of `a` needs an array, but the field holds a string
        {"a": [[1, 2]]}  <-  {"$pull": {"a.0": {"$gt": 1}}}  =>  {"a": [[1]]}
        {"a": [1, [2]]}  <-  {"$pull": {"a.-1": {"$gt": 1}}}  =>  {"a": [1, [2]]}
        "#,
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/update/pop/
#[test]
fn pop_takes_out_the_first_or_the_last() -> anyhow::Result<()> {
    check(
        r#"
        {"a": [1, 2, 3]}  <-  {"$pop": {"a": 1}}  =>  {"a": [1, 2]}
        {"a": [1, 2, 3]}  <-  {"$pop": {"a": -1}}  =>  {"a": [2, 3]}
        {"a": {"b": [1]}}  <-  {"$pop": {"a.b": 1.0}}  =>  {"a": {"b": []}}
        {"a": []}  <-  {"$pop": {"a": -1}}  =>  {"a": []}
        {}  <-  {"$pop": {"a": 1}}  =>  {}
        {"a": [1]}  <-  {"$pop": {"a.b": 1}}  =>  {"a": [1]}
        {"a": 5}  <-  {"$pop": {"a": 1}}  =>  `$pop` of `a` needs an array, but the field holds a number
        "#,
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/update/rename/
#[test]
fn rename_moves_a_field() -> anyhow::Result<()> {
    check(
        r#"
        {"a": 1, "c": 2}  <-  {"$rename": {"a": "b"}}  =>  {"b": 1, "c": 2}
        {"a": 1, "b": 2}  <-  {"$rename": {"a": "b"}}  =>  {"b": 1}
        {"a": {"b": 1}}  <-  {"$rename": {"a.b": "a.c"}}  =>  {"a": {"c": 1}}
        {"a": {"b": 1}}  <-  {"$rename": {"a.b": "c.d.e"}}  =>  {"a": {}, "c": {"d": {"e": 1}}}
        {"a": 1}  <-  {"$rename": {"b": "a"}}  =>  {"a": 1}
        {"a": 1}  <-  {"$rename": {"b": "a.c"}}  =>  {"a": 1}
        {"a": [1], "b": {"c": null}}  <-  {"$rename": {"a": "d", "b.c": "e"}}  =>  {"b": {}, "d": [1], "e": null}
        {"a": [{"b": 1}]}  <-  {"$rename": {"a.0.b": "c"}}  =>  `$rename` of `a.0.b` to `c` meets an array
        {"a": [{"b": 1}], "c": 1}  <-  {"$rename": {"c": "a.0.c"}}  =>  `$rename` of `c` to `a.0.c` meets an array
        "#,
    )
}

// https://www.mongodb.com/docs/manual/reference/operator/update/currentDate/
#[test]
fn current_date_is_the_transactions_time_in_utc() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("updated");
    let update = json!({"$currentDate": {"a": true, "b.c": {"$type": "date"}}});
    let before = std::time::SystemTime::now();

    let found = apply(&collection, json!({"a": 1}), update).map_err(anyhow::Error::msg)?;

    let text = found["a"].as_str().unwrap_or_default();
    let time: jiff::Timestamp = text.parse()?;
    assert_eq!(found, json!({"a": text, "b": {"c": text}}));
    assert_eq!(text.len(), "2026-11-26T08:18:20.123Z".len());
    assert_eq!(text, format!("{time:.3}"));
    let since = time.duration_since(jiff::Timestamp::try_from(before)?);
    assert!(since.as_secs().abs() < 600, "{text}");
    Ok(())
}

#[test]
fn names_and_values_with_special_characters_survive() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("updated");
    let specials = [
        "it's",
        "\"quoted\"",
        r"back\slash",
        r"'\'; DROP TABLE x; --",
        "a$1",
        "{}",
        "{0,1}",
        "{schema}",
        "{table}",
        "{a",
        "a}",
        "a,b",
        "NULL",
        "null",
        "😀",
        "größe",
        "line\nbreak",
        "tab\t",
        " ",
        "%",
        "%s",
        "%1$s",
        "`",
        "--",
        "/*",
        "a$$",
        "::jsonb",
        "E'\\n'",
        "\u{1}",
        "@",
        "*",
        "\u{feff}",
    ];
    for name in specials {
        let nested = format!("{name}.{name}");
        let document =
            json!({name: {"n": 1, "s": [name, "other"], "o": [{name: name}, {name: 1}]}});

        let update = json!({
            "$set": {nested: {name: name}},
            "$inc": {format!("{name}.n"): 1},
            "$rename": {format!("{name}.missing"): format!("{name}.{name}x")},
            "$push": {format!("{name}.p"): {"$each": [name], "$sort": {name: 1}}},
            "$addToSet": {format!("{name}.s"): name},
            "$pull": {format!("{name}.o"): {name: name}},
            "$unset": {format!("{name}.{name}y"): name},
        });
        let expected = json!({name: {
            name: {name: name}, "n": 2, "s": [name, "other"], "o": [{name: 1}], "p": [name],
        }});

        assert_eq!(
            apply(&collection, document.clone(), update),
            Ok(expected),
            "{name}"
        );

        let refused = apply(
            &collection,
            document,
            json!({"$inc": {format!("{name}.s"): 1}}),
        );
        let message = format!("`$inc` of `{name}.s` needs a number");
        assert!(
            refused.is_err_and(|refused| refused.contains(&message)),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn what_cannot_be_read_back_is_refused() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("updated");
    let deep = |levels: usize| {
        let mut value = json!(1);
        for _ in 0..levels {
            value = json!([value]);
        }
        value
    };
    let path = vec!["a"; 20].join(".");
    let cases = [
        (json!({}), json!({"$set": {path.as_str(): deep(107)}}), true),
        (
            json!({}),
            json!({"$set": {path.as_str(): deep(108)}}),
            false,
        ),
        (
            json!({}),
            json!({"$push": {path.as_str(): deep(106)}}),
            true,
        ),
        (
            json!({}),
            json!({"$push": {path.as_str(): deep(107)}}),
            false,
        ),
        (
            json!({"b": deep(107)}),
            json!({"$rename": {"b": path}}),
            true,
        ),
        (
            json!({"b": deep(108)}),
            json!({"$rename": {"b": path}}),
            false,
        ),
    ];
    for (document, update, fits) in cases {
        match apply(&collection, document, update.clone()) {
            Ok(_) => assert!(fits, "{update}"),
            Err(message) => assert!(!fits && message.contains("127 levels"), "{message}"),
        }
    }
    Ok(())
}

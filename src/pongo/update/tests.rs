use super::*;
use crate::pongo::filter::{SqlParameters, SqlValue, element, field};
use serde_json::{Value, json};

fn expression(update: &Value, phase: UpdatePhase) -> (String, Vec<(String, String)>) {
    let mut parameters = SqlParameters::new();
    parameters.push(SqlValue::Text("tenant".to_owned()));
    let update = Update::from(update.clone());
    let text = update_expression(&update, "data", phase, "{schema}", &mut parameters).unwrap();
    let typed = parameters.typed();
    let values = typed[1..]
        .iter()
        .map(|(value, kind)| (kind.name().to_owned(), format!("{value:?}")));
    (text, values.collect())
}

fn text(update: &Value) -> String {
    expression(update, UpdatePhase::Change).0
}

fn message(update: &Value) -> String {
    message_of(&Update::from(update.clone()))
}

fn message_of(update: &Update) -> String {
    let refused = update.operations().unwrap_err();
    format!("{:#}", anyhow::Error::from(refused))
}

#[test]
fn the_text_is_the_same_whatever_is_updated() {
    let one = json!({"$set": {"a": 1}});
    let other =
        json!({"$inc": {"x.y": 1, "z": 2}, "$push": {"'$1{}": "\"; --"}, "$pull": {"p": 7}});

    assert_eq!(
        text(&one),
        "{schema}.emt_document_update(data, $2::jsonb, '{}'::jsonb[])"
    );
    assert_eq!(text(&one), text(&other));
}

#[test]
fn the_text_of_a_condition_does_not_depend_on_the_other_operators() {
    let alone = json!({"$pull": {"a": {"$gt": 1}}});
    let last =
        json!({"$set": {"x": 1, "y": 1}, "$inc": {"z": 2}, "$pull": {"v": 1, "'b'.c": {"$gt": 7}}});
    let two = json!({"$pull": {"a": {"$gt": 1}, "b": {"$gt": 1}}});

    assert_eq!(text(&alone), text(&last));
    assert!(text(&alone).contains("string_to_array($2::jsonb #>> '{0,path}'::text[], '.')"));
    assert!(text(&two).contains("string_to_array($2::jsonb #>> '{1,path}'::text[], '.')"));
}

#[test]
fn values_and_paths_never_stand_in_the_text() {
    let hostile = "'); DROP TABLE carts; --";
    for update in [
        json!({"$set": {hostile: hostile}}),
        json!({"$rename": {hostile: format!("{hostile}2")}}),
        json!({"$push": {hostile: {"$each": [hostile], "$sort": {hostile: 1}}}}),
        json!({"$pull": {hostile: hostile}}),
        json!({"$pull": {hostile: {"$gte": hostile}}}),
    ] {
        assert!(!text(&update).contains("DROP"), "{update}");
    }
}

#[test]
fn set_on_insert_counts_for_inserts_only() {
    let update = json!({"$setOnInsert": {"a": "first"}, "$set": {"b": "always"}});

    let (_, changed) = expression(&update, UpdatePhase::Change);
    let (_, inserted) = expression(&update, UpdatePhase::Insert);

    assert!(!changed[0].1.contains("first") && changed[0].1.contains("always"));
    assert!(inserted[0].1.contains("first") && inserted[0].1.contains("always"));
}

#[test]
fn an_update_touches_each_field_once() {
    let conflicts = r#"
        {"$set": {"a": 1}, "$inc": {"a": 1}}  =>  `$set` of `a` and `$inc` of `a`
        {"$inc": {"a.b": 1}, "$set": {"a": 1}}  =>  `$set` of `a` and `$inc` of `a.b`
        {"$set": {"a": 1, "a.b.c": 1}}  =>  `$set` of `a` and `$set` of `a.b.c`
        {"$set": {"a": 1, "a.b": 1, "a-b": 1}}  =>  `$set` of `a` and `$set` of `a.b`
        {"$unset": {"a.0": 1}, "$push": {"a": 1}}  =>  `$push` of `a` and `$unset` of `a.0`
        {"$rename": {"a": "b"}, "$set": {"b.c": 1}}  =>  `$rename` of `b` and `$set` of `b.c`
        {"$rename": {"a.b": "c"}, "$set": {"a": 1}}  =>  `$set` of `a` and `$rename` of `a.b`
        {"$rename": {"a": "a"}}  =>  `$rename` of `a` and `$rename` of `a`
        {"$rename": {"a": "a.b"}}  =>  `$rename` of `a` and `$rename` of `a.b`
        {"$rename": {"a": "c", "b": "c"}}  =>  `$rename` of `c` and `$rename` of `c`
        {"$setOnInsert": {"a": 1}, "$set": {"a": 1}}  =>  `$setOnInsert` of `a` and `$set` of `a`
        {"$pull": {"a": {"$gt": 1}}, "$push": {"a": 1}}  =>  `$pull` of `a` and `$push` of `a`
    "#;
    for (update, expected) in cases(conflicts) {
        let expected = format!("{expected} conflict: an update touches each field once");
        assert_eq!(message(&update), expected, "{update}");
    }
    for disjoint in [
        json!({"$set": {"a.b": 1, "a.c": 1, "ab": 1, "a-": 1}, "$inc": {"b.a": 1, "a.d": 1}}),
        json!({"$rename": {"a": "b", "c": "d"}, "$set": {"e": 1}}),
    ] {
        text(&disjoint);
    }
}

/// Each line contains an update and the expected part of its message.
fn cases(text: &str) -> impl Iterator<Item = (Value, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| {
        let (update, expected) = line.split_once("  =>  ").unwrap();
        (serde_json::from_str(update).unwrap(), expected)
    })
}

/// Each line contains an update, and the beginning or the end of its message.
fn check_refused(text: &str) {
    for (update, expected) in cases(text) {
        let found = message(&update);
        assert!(
            found.starts_with(expected) || found.ends_with(expected),
            "{update}\n{found}"
        );
    }
}

#[test]
fn what_is_no_update_is_refused() {
    check_refused(
        r#"
        7  =>  an update must be an object of operators, not a number
        [{"$set": {"a": 1}}]  =>  an update must be an object of operators, not an array
        {}  =>  an update needs at least one operator, such as `$set`
        {"a": 1}  =>  `a` is not an operator: an update consists of operators such as `$set`, and replace_one replaces a whole document
        {"$set": {"b": 1}, "a": 1}  =>  `a` is not an operator
        {"$bit": {"a": {"and": 1}}}  =>  the operator `$bit` is not supported in an update
        {"$SET": {"a": 1}}  =>  the operator `$SET` is not supported in an update
        {"$set": 1}  =>  `$set` needs an object of fields, not a number
        {"$unset": "a"}  =>  `$unset` needs an object of fields, not a string
        "#,
    );
}

#[test]
fn operands_that_an_operator_cannot_work_with_are_refused() {
    check_refused(
        r#"
        {"$inc": {"a": "1"}}  =>  `$inc` of `a` needs a number, not a string
        {"$mul": {"a.b": null}}  =>  `$mul` of `a.b` needs a number, not null
        {"$pop": {"a": 2}}  =>  `$pop` of `a` needs 1 for the last element or -1 for the first, not 2
        {"$rename": {"a": 1}}  =>  `$rename` of `a` needs the field's new name, not a number
        {"$currentDate": {"a": false}}  =>  `$currentDate` of `a` needs true or {"$type": "date"}, not false
        {"$currentDate": {"a": {"$type": "timestamp"}}}  =>  needs true or {"$type": "date"}, not {"$type":"timestamp"}
        {"$push": {"a": {"$each": 1}}}  =>  `$push` of `a` needs an array in `$each`, not a number
        {"$push": {"a": {"$each": [], "$size": 1}}}  =>  `$push` of `a` does not work with `$size`
        {"$push": {"a": {"$each": [], "b": 1}}}  =>  `$push` of `a` does not work with `b`
        {"$push": {"a": {"$slice": 1}}}  =>  `$push` of `a` does not work with `$slice` without `$each`
        {"$push": {"a": {"$each": [], "$slice": 1.5}}}  =>  `$push` of `a` needs a whole number in `$slice`, not 1.5
        {"$push": {"a": {"$each": [], "$position": "1"}}}  =>  needs a whole number in `$position`, not "1"
        {"$push": {"a": {"$each": [], "$sort": 2}}}  =>  needs 1, -1 or an object of fields with 1 or -1 in `$sort`, not 2
        {"$push": {"a": {"$each": [], "$sort": {}}}}  =>  in `$sort`, not {}
        {"$push": {"a": {"$each": [], "$sort": {"a..b": 1}}}}  =>  in `$sort`, not {"a..b":1}
        {"$addToSet": {"a": {"$each": [], "$slice": 1}}}  =>  `$addToSet` of `a` does not work with `$slice`
        {"$addToSet": {"a": {"$each": {}}}}  =>  `$addToSet` of `a` needs an array in `$each`, not an object
        {"$pull": {"a": {"$regexp": 1}}}  =>  the condition of `$pull` of `a` is not valid: the operator `$regexp` is not supported
        {"$pull": {"a": {"$gt": 1, "b": 1}}}  =>  the condition of `$pull` of `a` is not valid
        "#,
    );
}

#[test]
fn names_that_are_no_names_are_refused() {
    check_refused(
        r#"
        {"$set": {"": 1}}  =>  `$set` of `` names no field: it has an empty name
        {"$unset": {"a..b": 1}}  =>  `$unset` of `a..b` names no field: it has an empty name
        {"$set": {"a.$": 1}}  =>  `$set` of `a.$` names no field: its names must not begin with `$`
        {"$inc": {"a.$[x].b": 1}}  =>  its names must not begin with `$`
        {"$rename": {"a": "$b"}}  =>  `$rename` of `$b` names no field: its names must not begin with `$`
        {"$set": {"a\u0000": 1}}  =>  names no field: it contains U+0000
        {"$set": {"_id": 1}}  =>  `$set` of `_id` is not possible: `_id` cannot be changed
        {"$setOnInsert": {"_id": "x"}}  =>  `$setOnInsert` of `_id` is not possible: `_id` cannot be changed
        {"$inc": {"_version": 1}}  =>  `$inc` of `_version` is not possible: `_version` cannot be changed
        {"$unset": {"_id.x": 1}}  =>  `$unset` of `_id.x` is not possible: `_id` cannot be changed
        {"$rename": {"a": "_id"}}  =>  `$rename` of `_id` is not possible: `_id` cannot be changed
        {"$rename": {"_version": "a"}}  =>  `$rename` of `_version` is not possible: `_version` cannot be changed
        "#,
    );
}

#[test]
fn values_that_cannot_be_stored_are_refused() {
    check_refused(
        r#"
        {"$set": {"a": {"b": ["x\u0000"]}}}  =>  the value of `$set` of `a` cannot be stored: `b.0` contains the character U+0000, which PostgreSQL cannot store
        {"$push": {"a": {"x\u0000": 1}}}  =>  the value of `$push` of `a` cannot be stored: `(a key)` contains the character U+0000
        {"$addToSet": {"a": {"$each": ["\u0000"]}}}  =>  the value of `$addToSet` of `a` cannot be stored: `$each.0` contains the character U+0000
        {"$min": {"a": "\u0000"}}  =>  the value of `$min` of `a` cannot be stored
        {"$pull": {"a": "\u0000"}}  =>  the value of `$pull` of `a` cannot be stored
        {"$push": {"a": {"$each": [], "$sort": {"\u0000": 1}}}}  =>  the value of `$push` of `a` cannot be stored
        {"$pull": {"a": {"b": "\u0000"}}}  =>  the condition of `$pull` of `a` is not valid: `b` is compared with text that contains U+0000
        "#,
    );
}

#[test]
fn a_built_update_is_the_document_that_it_says() {
    let built = Update::new()
        .set("a", 0.1_f32)
        .set("b.c", json!({"x": [1]}))
        .set_on_insert("d", "x")
        .unset("e")
        .inc("f", 1)
        .mul("g", 2.5)
        .min("h", 3)
        .max("i", "z")
        .push("j", [1, 2])
        .push_each("k", ["x", "y"])
        .add_to_set("l", 7)
        .add_each_to_set("m", vec![7, 8])
        .pull("n", 1)
        .pull("o", json!({"x": 1}))
        .pull_where("p", json!({"$gt": 1}))
        .pull_where("p2", field("x").eq(1))
        .pull_where("p3", element().lt(5))
        .pop_first("q")
        .pop_last("r")
        .rename("s", "t")
        .current_date("u");
    let expected = json!({
        "$set": {"a": 0.1, "b.c": {"x": [1]}},
        "$setOnInsert": {"d": "x"},
        "$unset": {"e": ""},
        "$inc": {"f": 1},
        "$mul": {"g": 2.5},
        "$min": {"h": 3},
        "$max": {"i": "z"},
        "$push": {"j": {"$each": [[1, 2]]}, "k": {"$each": ["x", "y"]}},
        "$addToSet": {"l": {"$each": [7]}, "m": {"$each": [7, 8]}},
        "$pull": {"n": 1, "o": {"$eq": {"x": 1}}, "p": {"$gt": 1}, "p2": {"x": {"$eq": 1}}, "p3": {"$lt": 5}},
        "$pop": {"q": -1, "r": 1},
        "$rename": {"s": "t"},
        "$currentDate": {"u": true},
    });

    let expected = Update::from(expected);
    assert_eq!(built.operations().unwrap(), expected.operations().unwrap());
}

#[test]
fn what_goes_wrong_while_an_update_is_built_is_said_when_it_is_used() {
    let cases = [
        (
            Update::new().set("a", f64::NAN).set("b", 1),
            "the value of `$set` of `a` cannot be stored: the value is NaN or infinite, and JSON has no such number",
        ),
        (
            Update::new().push("a", [1.0, f64::INFINITY]),
            "the value of `$push` of `a` cannot be stored: `1` is NaN",
        ),
        (
            Update::new().inc("a", u128::MAX),
            "the value of `$inc` of `a` cannot be stored: the value cannot be written as JSON",
        ),
        (
            Update::new().set("a", 1).set("a", 2),
            "`$set` of `a` and `$set` of `a` conflict",
        ),
        (
            Update::new().pull("a", json!({"$gt": 1})),
            "`$pull` of `a` needs a value (pull_where takes a condition), not {\"$gt\":1}",
        ),
        (
            Update::new().pull("a", json!([{"b": {"$gt": 1}}])),
            "`$pull` of `a` needs a value (pull_where takes a condition), not [{\"b\":{\"$gt\":1}}]",
        ),
        (
            Update::new().pull_where("a", element().gt(f64::NAN)),
            "the condition of `$pull` of `a` is not valid: ",
        ),
        (
            Update::from(json!(1)).set("a", 1),
            "an update must be an object of operators, not a number",
        ),
        (
            Update::from(json!({"$set": 1})).set("a", 1),
            "`$set` needs an object of fields, not a number",
        ),
    ];
    for (update, expected) in cases {
        let found = message_of(&update);
        assert!(found.starts_with(expected), "{found}");
    }
}

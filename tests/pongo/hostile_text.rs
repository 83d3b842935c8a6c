//! Text that tries to leave its place in SQL, in a JSON path or in a regular expression.

use crate::support;
use serde_json::{Value, json};

const HOSTILE: &[&str] = &[
    "'",
    "''",
    "\\",
    "\\'",
    "\"",
    "\\\"",
    "$1",
    "$1::text",
    "'; DROP TABLE x; --",
    "\\'; --",
    "E'",
    "/* */",
    "--",
    "{0}",
    "%s",
    "\n",
    "\r\n\t",
    "😀",
    "é\u{301}",
    "\u{1}",
    "\u{7f}",
    "a' || 'b",
    "$$",
    "$a$",
    "{a,b}",
    "NULL",
    "?",
    "@",
    "$.a",
    "\" || true || \"",
    "\\u0027",
    "\u{2028}",
    "]",
    "* ",
    "x\\",
];

/// The regular expression that matches the text alone.
fn as_regex(text: &str) -> String {
    let mut regex = String::new();
    for character in text.chars() {
        if character.is_ascii_punctuation() {
            regex.push('\\');
        }
        regex.push(character);
    }
    regex
}

// https://www.mongodb.com/docs/manual/core/document/#field-names
#[test]
fn no_text_breaks_out_of_its_place() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("hostile");
    let nested = |name: &str, value: &str| json!({name: {name: [{name: value}]}});
    let fields = || {
        HOSTILE
            .iter()
            .filter(|name| !name.starts_with('$') && !name.contains('.'))
    };
    for (number, text) in HOSTILE.iter().enumerate() {
        let mut document =
            json!({"_id": format!("{number}{text}"), "value": text, "values": [[text], text]});
        if let Some(name) = fields().find(|name| *name == text) {
            document["object"] = nested(name, text);
        }
        collection.insert_one(&document)?;
    }
    let ids = |filter: Value| -> anyhow::Result<Vec<String>> {
        let found = collection.find(filter).to_vec()?;
        Ok(found
            .iter()
            .filter_map(|document| document["_id"].as_str().map(str::to_owned))
            .collect())
    };

    for (number, text) in HOSTILE.iter().enumerate() {
        let id = format!("{number}{text}");
        let literal = as_regex(text);
        for filter in [
            json!({"_id": id}),
            json!({"_id": {"$in": [id, "unknown"]}}),
            json!({"value": text}),
            json!({"value": {"$in": [text, {"x": text}, [text, 1]]}}),
            json!({"value": {"$gte": text, "$lte": text}}),
            json!({"value": {"$regex": format!("^{literal}$")}}),
            json!({"values": text}),
            json!({"values": {"$all": [text, [text]]}}),
            json!({"values.1": text}),
            json!({"values": {"$elemMatch": {"$gte": text, "$lte": text}}}),
            json!({"values": {"$elemMatch": {"$elemMatch": {"$eq": text}}}}),
        ] {
            assert_eq!(ids(filter.clone())?, std::slice::from_ref(&id), "{filter}");
        }
    }
    for name in fields() {
        let id = HOSTILE
            .iter()
            .position(|text| text == name)
            .map(|number| format!("{number}{name}"));
        let id: Vec<String> = id.into_iter().collect();
        for filter in [
            json!({format!("object.{name}.{name}.{name}"): name}),
            json!({format!("object.{name}.{name}.0.{name}"): {"$gte": name, "$lte": name}}),
            json!({format!("object.{name}.{name}"): {"$elemMatch": {*name: name}}}),
            json!({format!("object.{name}.{name}"): {"$size": 1}}),
            json!({format!("object.{name}.{name}.{name}"): {"$type": "string"}}),
            json!({format!("object.{name}"): {"$exists": true}}),
            json!({"object": nested(name, name)}),
        ] {
            assert_eq!(ids(filter.clone())?, id, "{filter}");
        }
        let sorted = collection
            .find(json!({}))
            .sort(json!({format!("object.{name}"): -1}))
            .to_vec()?;
        assert_eq!(sorted.len(), HOSTILE.len());
        let first = sorted[0]["_id"].as_str().map(str::to_owned);
        assert_eq!(first.as_ref(), id.first());
    }
    Ok(())
}

//! Text that tries to break out of SQL, of a JSON path or of a regular expression.

use crate::support;
use emmett_postgresql::pongo::Collection;
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

/// Each text as a value, and as the name of fields where it is one name.
fn insert_hostile_documents(collection: &Collection<'_, Value>) -> anyhow::Result<()> {
    let documents: Vec<Value> = HOSTILE
        .iter()
        .map(|text| {
            let id = format!("id {text}");
            let mut document = json!({"_id": id, "value": text, "values": [[text], text]});
            if is_name(text) {
                document["object"] = nested(text);
                document[*text] = json!("top");
            }
            document
        })
        .collect();
    collection.insert_many(&documents)?;
    Ok(())
}

fn nested(name: &str) -> Value {
    json!({name: {name: [{name: name}]}})
}

fn is_name(text: &str) -> bool {
    !text.starts_with('$') && !text.contains('.')
}

fn ids(collection: &Collection<'_, Value>, filter: &Value) -> anyhow::Result<Vec<String>> {
    let found = collection.find(filter.clone()).to_vec()?;
    let ids = found.iter().filter_map(|document| document["_id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

/// A regular expression of the text's letters.
fn literally(text: &str) -> String {
    let mut pattern = "^".to_owned();
    for letter in text.chars() {
        if letter.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern + "$"
}

#[test]
fn a_value_stays_a_value() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("hostile");
    insert_hostile_documents(&collection)?;

    for text in HOSTILE {
        let id = format!("id {text}");
        for filter in [
            json!({"_id": id}),
            json!({"_id": {"$in": [id, "unknown"]}}),
            json!({"_id": {"$regex": literally(&id)}}),
            json!({"value": text}),
            json!({"value": {"$in": [text, {"x": text}, [text, 1]]}}),
            json!({"value": {"$gte": text, "$lte": text}}),
            json!({"value": {"$regex": literally(text)}}),
            json!({"values": text}),
            json!({"values": {"$all": [text, [text]]}}),
            json!({"values.1": text}),
            json!({"values": {"$elemMatch": {"$gte": text, "$lte": text}}}),
            json!({"values": {"$elemMatch": {"$elemMatch": {"$eq": text}}}}),
        ] {
            assert_eq!(ids(&collection, &filter)?, [id.as_str()], "{filter}");
        }
    }
    Ok(())
}

#[test]
fn a_name_stays_a_name() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("hostile");
    insert_hostile_documents(&collection)?;

    for name in HOSTILE.iter().filter(|text| is_name(text)) {
        let id = format!("id {name}");
        let deep = format!("object.{name}.{name}");
        for filter in [
            json!({*name: "top"}),
            json!({*name: {"$gt": "to", "$regex": "p$"}}),
            json!({format!("{deep}.{name}"): name}),
            json!({format!("{deep}.{name}"): {"$type": "string"}}),
            json!({format!("{deep}.0.{name}"): {"$gte": name, "$lte": name}}),
            json!({deep.as_str(): {"$elemMatch": {*name: name}}}),
            json!({deep.as_str(): {"$size": 1}}),
            json!({format!("object.{name}"): {"$exists": true}}),
            json!({"object": nested(name)}),
        ] {
            assert_eq!(ids(&collection, &filter)?, [id.as_str()], "{filter}");
        }
        let sort = json!({format!("object.{name}"): -1});
        let sorted = collection.find(json!({})).sort(sort).to_vec()?;
        assert_eq!(sorted.len(), HOSTILE.len());
        assert_eq!(sorted[0]["_id"], id);
    }
    Ok(())
}

// Most of them are no regular expressions, and then PostgreSQL says so.
#[test]
fn a_regular_expression_stays_one() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let collection = store.collection::<Value>("hostile");
    insert_hostile_documents(&collection)?;

    for pattern in HOSTILE {
        for options in ["", "imsx"] {
            let condition = json!({"$regex": pattern, "$options": options});
            let found = ids(&collection, &json!({"value": condition}));
            let message = found.err().map(|error| format!("{error:#}"));
            assert!(
                message
                    .as_ref()
                    .is_none_or(|message| message.contains("regular expression")),
                "{pattern}: {message:?}"
            );
        }
    }
    assert_eq!(collection.count_documents(json!({}))?, HOSTILE.len() as u64);
    Ok(())
}

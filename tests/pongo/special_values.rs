//! Strings and numbers are read back as they were written, after any operation. Documents of an older form are read,
//! too.

use crate::support;
use emmett_postgresql::error::JsonError;
use emmett_postgresql::pongo::{DocumentEvolution, Error, Update, UpdateOptions, field};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::HashMap;

fn strings() -> Vec<String> {
    let mut strings: Vec<String> = [
        "",
        " ",
        "'",
        "''",
        "\"",
        "\\",
        "\\'",
        "\\u0041",
        "$1",
        "$set",
        "{}",
        "{table}",
        "null",
        "true",
        "0123",
        "1e5",
        "12345678901234567890",
        "2026-11-26",
        "2026-11-26T08:00:00.000Z",
        "😀",
        "👩‍👩‍👧",
        "é",
        "e\u{301}",
        "\n\t\r\u{1}",
        "ß",
        "'; DROP TABLE strings; --",
    ]
    .map(str::to_owned)
    .into();
    strings.push("long ".repeat(200_000));
    strings
}

#[test]
fn strings_survive_every_operation() -> anyhow::Result<()> {
    let (_database, store) = support::store()?;
    let documents = store.collection::<Value>("strings");
    for (number, text) in strings().into_iter().enumerate() {
        let id = format!("{number} {}", text.chars().take(20).collect::<String>());
        let id = id.as_str();
        let by_id = || json!({"_id": id});
        let check = |expected: &str| -> anyhow::Result<()> {
            let found = documents.find_by_id(id)?.expect("stored");
            assert_eq!(found["text"], expected, "{expected:.40}");
            assert_eq!(found["_id"], id);
            Ok(())
        };
        documents.insert_one(&json!({"_id": id, "text": text}))?;
        check(&text)?;
        documents.update_one(by_id(), json!({"$set": {"text": "other"}}))?;
        documents.update_one(by_id(), Update::new().set("text", &text))?;
        check(&text)?;
        documents.replace_one(by_id(), &json!({"text": text, "replaced": true}))?;
        check(&text)?;
        documents.replace_many([(id, &json!({"text": text, "together": true}))])?;
        check(&text)?;
        documents.upsert_one(&json!({"_id": id, "text": text, "upserted": true}))?;
        check(&text)?;
        documents.handle(id, |document| {
            let mut document = document.expect("stored");
            document["handled"] = json!(text);
            Ok(Some(document))
        })?;
        check(&text)?;
        documents.update_one(
            by_id(),
            json!({"$push": {"list": text}, "$rename": {"handled": "moved"}}),
        )?;
        documents.update_one(by_id(), json!({"$addToSet": {"list": text}}))?;
        let found = documents.find_by_id(id)?.expect("stored");
        assert_eq!(
            (&found["list"], &found["moved"]),
            (&json!([text]), &json!(text))
        );
        let equal = json!({"_id": id, "text": text, "list": {"$in": [text]}});
        assert_eq!(documents.count_documents(equal)?, 1, "{text:.40}");
        let range = field("_id")
            .eq(id)
            .and(field("text").gte(&text))
            .and(field("text").lte(&text));
        assert_eq!(documents.count_documents(range)?, 1, "{text:.40}");
        assert_eq!(
            documents.distinct::<String>("text", by_id())?,
            [text.as_str()]
        );
        documents.update_one(by_id(), json!({"$pull": {"list": text}}))?;
        assert_eq!(
            documents.find_by_id(id)?.expect("stored")["list"],
            json!([])
        );
        let upserted = json!({"_id": format!("{number} upserted"), "text": text});
        documents.update_one_with(
            upserted,
            json!({"$set": {"n": 1}}),
            UpdateOptions::new().upsert(),
        )?;
        let deleted =
            documents.find_one_and_delete(json!({"_id": format!("{number} upserted")}))?;
        assert_eq!(deleted.expect("upserted")["text"], text.as_str());
    }
    Ok(())
}

#[test]
fn numbers_are_exact_or_an_error() -> anyhow::Result<()> {
    #[derive(Serialize, Deserialize)]
    struct Exact {
        n: i128,
        raw: Box<RawValue>,
    }
    let (_database, store) = support::store()?;
    let exact = store.collection::<Exact>("numbers");
    let untyped = store.collection::<Value>("numbers");
    let digits = "1234567890123456789.01234567890123456789";
    let n = 123_456_789_012_345_678_901_234_567_890_i128;
    let raw = RawValue::from_string(digits.to_owned())?;
    let id = exact.insert_one(&Exact { n, raw })?.id;
    exact.update_one(json!({"_id": id}), json!({"$inc": {"n": 1, "raw": 1}}))?;
    exact.handle(&id, |document| {
        let mut document = document.expect("stored");
        document.n += 1;
        Ok(Some(document))
    })?;
    let found = exact.find_by_id(&id)?.expect("stored");
    assert_eq!(
        (found.n, found.raw.get()),
        (n + 2, "1234567890123456790.01234567890123456789")
    );
    let lossy = [
        untyped.find_by_id(&id).map(|_| ()),
        untyped.find(json!({})).to_vec().map(|_| ()),
        untyped.handle(&id, Ok).map(|_| ()),
    ];
    for lossy in lossy {
        assert!(
            matches!(
                &lossy,
                Err(Error::Json {
                    source: JsonError::BeyondF64 { .. },
                    ..
                })
            ),
            "{lossy:?}"
        );
    }
    for number in [
        json!(i64::MIN),
        json!(u64::MAX),
        json!(0.1),
        json!(1e300),
        json!(5e-324),
        json!(-2.5),
    ] {
        let id = untyped.insert_one(&json!({"n": number}))?.id;
        assert_eq!(untyped.find_by_id(&id)?.expect("stored")["n"], number);
        assert!(untyped.exists(json!({"_id": id, "n": number}))?);
    }
    Ok(())
}

#[test]
fn documents_of_an_older_form_are_read_and_written() -> anyhow::Result<()> {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Name {
        first: String,
        last: String,
    }
    let (_database, store) = support::store()?;
    let stored = store.collection::<Value>("names");
    stored.insert_one(&json!({"_id": "1", "name": "Anna Muster"}))?;
    let evolution = DocumentEvolution::new()
        .upcast(|stored| {
            let name = stored["name"]
                .as_str()
                .ok_or_else(|| anyhow::anyhow!("no name"))?;
            let (first, last) = name.split_once(' ').unwrap_or((name, ""));
            Ok(json!({"first": first, "last": last}))
        })
        .downcast(|name| {
            let (first, last) = (name["first"].as_str(), name["last"].as_str());
            Ok(json!({"name": format!("{} {}", first.unwrap_or(""), last.unwrap_or(""))}))
        });
    let names = store.collection::<Name>("names").evolving(evolution);
    let name = |first: &str, last: &str| Name {
        first: first.into(),
        last: last.into(),
    };
    assert_eq!(names.find_by_id("1")?, Some(name("Anna", "Muster")));
    assert_eq!(
        names.find(json!({"name": "Anna Muster"})).to_vec()?.len(),
        1
    );
    names.handle("1", |found| {
        assert_eq!(found, Some(name("Anna", "Muster")));
        Ok(Some(name("Berta", "Muster")))
    })?;
    let id = names.insert_one(&name("Carla", "Beispiel"))?.id;
    let before = names.find_one_and_replace(json!({"_id": id}), &name("Dora", "Beispiel"))?;
    assert_eq!(before, Some(name("Carla", "Beispiel")));
    let all = stored.distinct::<String>("name", json!({}))?;
    assert_eq!(all, ["Berta Muster", "Dora Beispiel"]);
    stored.insert_one(&json!({"_id": "bad"}))?;
    let failed = names.find_by_id("bad");
    assert!(
        matches!(&failed, Err(Error::Hook { source, .. }) if source.to_string() == "no name"),
        "{failed:?}"
    );
    Ok(())
}

#[test]
fn a_map_gets_id_and_version_as_entries_and_a_written_version_is_not_stored() -> anyhow::Result<()>
{
    let (_database, store) = support::store()?;
    let counts = store.collection::<HashMap<String, Value>>("counts");
    let written = HashMap::from([
        ("a".to_owned(), json!(1)),
        ("_version".to_owned(), json!(7)),
    ]);
    let id = counts.insert_one(&written)?.id;

    let found = counts.find_by_id(&id)?.expect("the document");
    assert_eq!(
        found,
        HashMap::from([
            ("a".to_owned(), json!(1)),
            ("_id".to_owned(), json!(id)),
            ("_version".to_owned(), json!(1)),
        ])
    );
    let numbers = store.collection::<HashMap<String, i64>>("counts");
    assert!(matches!(numbers.find_by_id(&id), Err(Error::Json { .. })));
    Ok(())
}

//! The id and the version of a document are columns: no write adds them to the JSON. Rows with them in the JSON are
//! read and written like others.

use crate::support::{CartEvent, added, database, store};
use emmett_postgresql::pongo::{Collection, Error, Index, ReturnDocument, UpdateOptions};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{DocumentProjection, EventStore, Recorded};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

fn documents() -> anyhow::Result<(Database, EventStore, Collection<'static, Value>)> {
    let (database, store) = store()?;
    let documents = store.collection("documents");
    Ok((database, store, documents))
}

/// The ids and the JSON of all rows, as they are stored.
fn stored(database: &Database) -> anyhow::Result<Vec<(String, String)>> {
    let sql = "SELECT _id, data::text FROM documents ORDER BY _id COLLATE \"C\"";
    let rows = database.client()?.query(sql, &[])?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A document with everything that is not stored, and what looks like it and is.
fn document(id: &str, a: i64) -> Value {
    json!({"_version": 77, "_id": id, "a": a, "inner": {"_id": "kept", "_version": 5}})
}

fn with_a(document: Option<Value>) -> Option<Value> {
    document.map(|mut document| {
        document["a"] = json!(1);
        document
    })
}

#[test]
fn no_write_puts_the_id_or_the_version_into_the_json() -> anyhow::Result<()> {
    let (database, _store, documents) = documents()?;
    let upsert = || UpdateOptions::new().upsert();
    let by_id = |id: &str| json!({"_id": id});
    let set = || json!({"$set": {"a": 1}});
    let made = || json!({"$set": {"a": 1, "inner": {"_id": "kept", "_version": 5}}});
    let inner = || json!({"$set": {"inner": {"_id": "kept", "_version": 5}}});
    let after = ReturnDocument::After;

    documents.insert_one(&document("insert one", 1))?;
    documents.insert_many(&[document("insert 1", 1), document("insert 2", 1)])?;
    documents.insert_one(&json!({"a": 1, "inner": document("kept", 1)["inner"], "_version": 5}))?;
    documents.upsert_one(&document("upsert one", 1))?;
    documents.upsert_one(&document("upsert one", 1))?;
    documents.upsert_many(&[document("upsert 1", 1), document("upsert 2", 1)])?;
    documents.replace_one_with(
        by_id("upsert by id"),
        &document("upsert by id", 1),
        upsert(),
    )?;
    documents.replace_one_with(json!({"b": 1}), &document("upsert by field", 1), upsert())?;
    documents.update_one_with(by_id("update makes"), made(), upsert())?;
    documents.update_one_with(json!({"_id": "seed makes", "a": 1}), inner(), upsert())?;
    documents.find_one_and_update_with(by_id("find makes"), made(), after, upsert())?;
    documents.handle("handle makes", |_| Ok(Some(document("handle makes", 1))))?;
    documents.handle_many(["handle makes 1", "handle makes 2"], |id, _| {
        Ok(Some(document(id, 1)))
    })?;

    let changed = [
        "replace one",
        "replace 1",
        "replace 2",
        "report",
        "find and replace",
        "update one",
        "update 1",
        "update 2",
        "find and update",
        "handle",
        "handle 1",
        "handle 2",
    ];
    documents.insert_many(&changed.map(|id| document(id, 0)))?;
    documents.replace_one(by_id("replace one"), &document("replace one", 1))?;
    documents.replace_many([
        ("replace 1", &document("replace 1", 1)),
        ("replace 2", &document("replace 2", 1)),
    ])?;
    documents.replace_many_reporting([("report", &document("report", 1))])?;
    documents.find_one_and_replace(by_id("find and replace"), &document("find and replace", 1))?;
    documents.update_one(by_id("update one"), set())?;
    documents.update_many(json!({"_id": {"$in": ["update 1", "update 2"]}}), set())?;
    documents.find_one_and_update(by_id("find and update"), set())?;
    documents.handle("handle", |document| Ok(with_a(document)))?;
    documents.handle_many(["handle 1", "handle 2"], |_, document| Ok(with_a(document)))?;

    let rows = stored(&database)?;
    assert_eq!(rows.len(), 15 + changed.len());
    for (id, data) in rows {
        let data: Value = serde_json::from_str(&data)?;
        assert_eq!(
            data,
            json!({"a": 1, "inner": {"_id": "kept", "_version": 5}}),
            "{id}"
        );
        let found = documents.find_by_id(&id)?.expect("stored");
        assert_eq!(found["_id"], json!(id));
    }
    Ok(())
}

#[test]
fn an_escaped_name_and_a_second_one_are_seen_and_the_rest_is_stored_to_the_letter()
-> anyhow::Result<()> {
    let (database, store, _) = documents()?;
    let documents = store.collection::<Box<RawValue>>("documents");
    let raw = |json: &str| RawValue::from_string(json.to_owned());

    let inserted = documents.insert_many(&[
        raw(r#"{"\u005fid": "a", "n": 1.50, "\u005f\u0076ersion" : 9}"#)?,
        raw(r#"{ "_id" : "first", "n" : 12345678901234567890.10, "\u005fid" : "b" }"#)?,
    ])?;
    let number = documents.insert_one(&raw(r#"{"\u005fid": 1}"#)?);
    let nul = documents.insert_one(&raw(r#"{"_id": null, "\u005f_id": "c"}"#)?)?;

    assert_eq!(inserted, ["a", "b"]);
    assert!(
        matches!(&number, Err(Error::InvalidInput { .. })),
        "{number:?}"
    );
    let rows = stored(&database)?;
    let data: Vec<&str> = rows.iter().map(|(_, data)| data.as_str()).collect();
    assert_eq!(
        data,
        [
            r#"{"__id": "c"}"#,
            r#"{"n": 1.50}"#,
            r#"{"n": 12345678901234567890.10}"#
        ],
        "{nul:?}"
    );
    Ok(())
}

/// Rows as an older version of the library and Pongo for Node have written them.
fn old_rows(database: &Database, documents: &Collection<'_, Value>) -> anyhow::Result<()> {
    documents.create()?;
    Ok(database.client()?.batch_execute(
        r#"INSERT INTO documents (_id, data, _version) VALUES
            ('x', '{"_id": "x", "a": 1, "tags": [{"_id": "t"}]}', 3),
            ('y', '{"_id": "other", "_version": "9", "a": 2}', 4)"#,
    )?)
}

fn x() -> Value {
    json!({"_id": "x", "_version": 3, "a": 1, "tags": [{"_id": "t"}]})
}

fn y() -> Value {
    json!({"_id": "y", "_version": 4, "a": 2})
}

#[test]
fn rows_with_both_in_their_json_are_read_like_others() -> anyhow::Result<()> {
    let (database, _store, documents) = documents()?;
    old_rows(&database, &documents)?;
    documents.create_index(&Index::field("_id").named("by_id"))?;
    let all = || documents.find(json!({})).sort(json!({"_id": 1}));
    let count = |filter: Value| documents.count_documents(filter);

    assert_eq!(documents.find_by_id("y")?, Some(y()));
    assert_eq!(documents.find_by_id("other")?, None);
    assert_eq!(documents.find_one(json!({"_version": 4}))?, Some(y()));
    assert_eq!(all().to_vec()?, [x(), y()]);
    assert_eq!(all().cursor()?.collect::<Result<Vec<_>, _>>()?, [x(), y()]);
    assert_eq!(all().page(1)?.documents, [x()]);
    assert_eq!(
        all().select::<Value>(["a"]).to_vec()?,
        [json!({"_id": "x", "a": 1}), json!({"_id": "y", "a": 2})]
    );
    assert_eq!(
        all().select::<Value>(["_id"]).to_vec()?,
        [json!({"_id": "x"}), json!({"_id": "y"})]
    );
    assert_eq!(
        all()
            .select::<Value>(json!({"tags": 0, "a": 0, "_id": 0}))
            .to_vec()?,
        [json!({"_version": 3}), json!({"_version": 4})]
    );
    assert_eq!(documents.distinct::<String>("_id", json!({}))?, ["x", "y"]);
    assert_eq!(documents.distinct::<u64>("_version", json!({}))?, [3, 4]);
    assert_eq!(count(json!({"_id": {"$in": ["x", "other"]}}))?, 1);
    assert_eq!(
        count(json!({"$and": [{"_id": "y"}, {"_version": {"$gt": 3}}]}))?,
        1
    );
    assert_eq!(
        count(json!({"$or": [{"_id": "other"}, {"_version": 9}]}))?,
        0
    );
    assert_eq!(count(json!({"tags": {"$elemMatch": {"_id": "t"}}}))?, 1);
    documents.handle("y", |found| {
        assert_eq!(found, Some(y()));
        Ok(found)
    })?;
    Ok(())
}

#[test]
fn rows_with_both_in_their_json_are_written_like_others() -> anyhow::Result<()> {
    let (database, _store, documents) = documents()?;
    old_rows(&database, &documents)?;
    let by_y = || json!({"_id": "y"});
    let y = |a: i64, version: u64| json!({"_id": "y", "_version": version, "a": a});

    let unchanged = documents.update_one(by_y(), json!({"$set": {"a": 2}}))?;
    assert!(unchanged.matched && !unchanged.modified);
    documents.update_one(by_y(), json!({"$inc": {"a": 1}}))?;
    assert_eq!(documents.find_one(json!({"a": 3}))?, Some(y(3, 5)));
    documents.update_many(json!({"a": 3}), json!({"$set": {"a": 4}}))?;
    let found = documents.find_one_and_update(by_y(), json!({"$set": {"a": 5}}))?;
    assert_eq!(found, Some(y(4, 6)));
    let unchanged = documents.handle("y", Ok)?;
    assert_eq!(unchanged.version, Some(7));
    documents.handle("y", |found| Ok(with_a(found)))?;
    assert_eq!(documents.find_by_id("y")?, Some(y(1, 8)));
    // What replaces a row as a whole takes both out of its JSON.
    assert_eq!(stored(&database)?[1].1, r#"{"a": 1}"#);
    let replaced = documents.replace_one(json!({"_id": "x"}), &x())?;
    let together = documents.replace_many([("x", &x())])?;
    assert!(replaced.matched && !replaced.modified && !together[0].modified);
    assert_eq!(
        documents.find_one_and_delete(json!({"_id": "x"}))?,
        Some(x())
    );
    Ok(())
}

/// A read model that asks for its id and its version.
#[derive(Debug, Serialize, Deserialize)]
struct Items {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_version")]
    version: u64,
    /// The id and the version that it was read with, each time.
    read: Vec<String>,
}

fn items() -> DocumentProjection<Items> {
    DocumentProjection::multi_stream(
        "documents",
        |recorded: &Recorded<CartEvent>| {
            let both = recorded.stream_name.to_string() == "both";
            [Some("x".to_owned()), both.then(|| "y".to_owned())]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        },
        |items: Option<Items>, _: &Recorded<CartEvent>| {
            let mut items = items.unwrap_or_else(|| Items {
                id: "of no consequence".into(),
                version: 77,
                read: Vec::new(),
            });
            items.read.push(format!("{} {}", items.id, items.version));
            Some(items)
        },
    )
}

#[test]
fn a_projection_reads_the_id_and_the_version_and_stores_neither() -> anyhow::Result<()> {
    let database = database();
    let old = EventStore::open(database.url())?;
    let documents = old.collection::<Value>("documents");
    documents.create()?;
    database.client()?.batch_execute(
        r#"INSERT INTO documents (_id, data, _version) VALUES ('x', '{"_id": "x", "_version": "9", "read": []}', 3)"#,
    )?;
    let store = EventStore::builder(database.url())
        .inline_projection(items())
        .open()?;

    store.append_to_stream("one", &[added("shoes", 1)])?;
    store.append_to_stream("both", &[added("shoes", 1)])?;
    store.append_to_stream("both", &[added("shoes", 1)])?;

    let rows = stored(&database)?;
    assert_eq!(
        rows,
        [
            (
                "x".to_owned(),
                r#"{"read": ["x 3", "x 4", "x 5"]}"#.to_owned()
            ),
            (
                "y".to_owned(),
                r#"{"read": ["of no consequence 77", "y 1"]}"#.to_owned()
            ),
        ]
    );
    Ok(())
}

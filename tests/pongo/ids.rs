//! Documents are read with `_id` and `_version`, or `without_ids`: by every reader, into types of every kind.

use crate::support::{CartEvent, added, database, store};
use emmett_postgresql::pongo::{
    Collection, DocumentEvolution, Error, Result, ReturnDocument, UpdateOptions,
};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{DocumentProjection, EventStore, Recorded};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

/// A type that has no place for the id and the version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cart {
    items: u32,
}

fn cart(items: u32) -> Cart {
    Cart { items }
}

/// A row as the library writes it, and one as Pongo for Node does.
fn carts(items: u32) -> anyhow::Result<(Database, EventStore)> {
    let (database, store) = store()?;
    store.collection::<Value>("carts").create()?;
    database.client()?.execute(
        "INSERT INTO carts (_id, data) VALUES
            ('a', jsonb_build_object('items', $1::bigint)),
            ('b', jsonb_build_object('items', $1::bigint, '_id', 'other', '_version', '9'))",
        &[&i64::from(items)],
    )?;
    Ok((database, store))
}

/// Everything that reads a document of the collection; those that write it change nothing where they cannot read it.
fn readers(carts: &Collection<'_, Cart>, id: &str) -> Vec<(&'static str, Result<Option<Cart>>)> {
    let by_id = || json!({"_id": id});
    let more = || json!({"$inc": {"items": 1}});
    let first = |found: Vec<Cart>| found.into_iter().next();
    vec![
        ("find_by_id", carts.find_by_id(id)),
        ("find_one", carts.find_one(by_id())),
        ("to_vec", carts.find(by_id()).to_vec().map(first)),
        (
            "cursor",
            carts
                .find(by_id())
                .cursor()
                .and_then(|cursor| cursor.last().transpose()),
        ),
        (
            "page",
            carts
                .find(by_id())
                .page(1)
                .map(|page| first(page.documents)),
        ),
        (
            "select",
            carts
                .find(by_id())
                .select(json!({"other": 0}))
                .to_vec()
                .map(first),
        ),
        (
            "handle",
            carts.handle(id, Ok).map(|handled| handled.document),
        ),
        (
            "handle_many",
            carts
                .handle_many([id, "none"], |_, cart| Ok(cart))
                .map(|mut handled| handled.remove(0).document),
        ),
        (
            "find_one_and_update",
            carts.find_one_and_update(by_id(), more()),
        ),
        (
            "find_one_and_update_with",
            carts.find_one_and_update_with(
                by_id(),
                more(),
                ReturnDocument::After,
                UpdateOptions::new(),
            ),
        ),
        (
            "find_one_and_replace",
            carts.find_one_and_replace(by_id(), &cart(9)),
        ),
        ("find_one_and_delete", carts.find_one_and_delete(by_id())),
    ]
}

#[test]
fn every_reader_leaves_the_ids_out_where_it_is_asked_to() -> anyhow::Result<()> {
    let (_database, store) = carts(2)?;
    let carts = store.collection::<Cart>("carts").without_ids();
    for id in ["a", "b"] {
        for (reader, read) in readers(&carts, id) {
            let expected = match reader {
                "find_one_and_update_with" | "find_one_and_replace" => 4,
                "find_one_and_delete" => 9,
                _ => 2,
            };
            assert_eq!(read?, Some(cart(expected)), "{reader} {id}");
        }
    }
    Ok(())
}

/// Asserts that an error says how the type could read the document.
#[track_caller]
fn assert_names_the_setter<T: Debug>(read: Result<T>, case: &str) {
    let Err(error @ Error::Json { .. }) = read else {
        panic!("{case}: {read:?}");
    };
    let text = format!("{:#}", anyhow::Error::new(error));
    let next_step = "documents are read with `_id` and `_version`: give the type both fields, or call `without_ids()`";
    assert!(text.contains(next_step), "{case}: {text}");
}

#[test]
fn a_reader_into_a_type_that_refuses_the_ids_names_the_setter_and_changes_nothing()
-> anyhow::Result<()> {
    let (_database, store) = carts(2)?;
    let refusing = store.collection::<Cart>("carts");
    for id in ["a", "b"] {
        for (reader, read) in readers(&refusing, id) {
            assert_names_the_setter(read, reader);
        }
    }
    let all = refusing.without_ids().find(json!({})).to_vec()?;
    assert_eq!(all, [cart(2), cart(2)]);
    Ok(())
}

fn reads<T: DeserializeOwned + PartialEq + Debug>(
    store: &EventStore,
    id: &str,
    expected: T,
) -> anyhow::Result<()> {
    let found = store
        .collection::<T>("kinds")
        .without_ids()
        .find_by_id(id)?;
    assert_eq!(found, Some(expected));
    assert_names_the_setter(store.collection::<T>("kinds").find_by_id(id), id);
    Ok(())
}

#[test]
fn maps_enums_and_types_that_refuse_unknown_fields_are_read_without_ids() -> anyhow::Result<()> {
    #[derive(Debug, PartialEq, Deserialize)]
    enum External {
        Open { a: u8 },
        Paid(u8, u8),
        Sent(Cart),
        Closed,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "kind", deny_unknown_fields)]
    enum Internal {
        Open { a: u8 },
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "kind", content = "content", deny_unknown_fields)]
    enum Adjacent {
        Open { a: u8 },
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Flattened {
        a: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Newtype(Cart);

    let (_database, store) = store()?;
    store.collection::<Value>("kinds").insert_many(&[
        json!({"_id": "map", "a": 1, "b": 2}),
        json!({"_id": "open", "Open": {"a": 1}}),
        json!({"_id": "paid", "Paid": [1, 2]}),
        json!({"_id": "sent", "Sent": {"items": 3}}),
        json!({"_id": "closed", "Closed": null}),
        json!({"_id": "internal", "kind": "Open", "a": 1}),
        json!({"_id": "adjacent", "kind": "Open", "content": {"a": 1}}),
        json!({"_id": "newtype", "items": 4}),
    ])?;

    reads(
        &store,
        "map",
        HashMap::from([("a".to_owned(), 1_i64), ("b".to_owned(), 2)]),
    )?;
    reads(
        &store,
        "map",
        Flattened {
            a: 1,
            rest: BTreeMap::from([("b".to_owned(), 2)]),
        },
    )?;
    reads(&store, "open", External::Open { a: 1 })?;
    reads(&store, "paid", External::Paid(1, 2))?;
    reads(&store, "sent", External::Sent(cart(3)))?;
    reads(&store, "closed", External::Closed)?;
    reads(&store, "internal", Internal::Open { a: 1 })?;
    reads(&store, "adjacent", Adjacent::Open { a: 1 })?;
    reads(&store, "newtype", Newtype(cart(4)))?;

    let values = store.collection::<Value>("kinds").without_ids();
    assert_eq!(values.find_by_id("map")?, Some(json!({"a": 1, "b": 2})));
    let raw = store.collection::<Box<RawValue>>("kinds").without_ids();
    let raw = raw.find_by_id("paid")?.expect("stored");
    assert_eq!(raw.get(), r#"{"Paid":[1, 2]}"#);
    Ok(())
}

#[test]
fn types_of_every_kind_are_read_with_the_ids_that_they_name() -> anyhow::Result<()> {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Both {
        _id: String,
        #[serde(rename = "_version")]
        version: i64,
        items: u32,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct SmallVersion {
        #[serde(alias = "_version")]
        version: u8,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "kind")]
    enum Internal {
        Open { _id: String },
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Flattened {
        items: u32,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Loose {
        items: u32,
    }
    fn read<T: DeserializeOwned>(store: &EventStore, id: &str) -> Result<Option<T>> {
        store.collection("carts").find_by_id(id)
    }
    let (_database, store) = carts(2)?;
    let open = json!({"_id": "open", "kind": "Open", "_version": 7});
    store.collection::<Value>("carts").insert_one(&open)?;

    for id in ["a", "b"] {
        let both = Both {
            _id: id.to_owned(),
            version: 1,
            items: 2,
        };
        assert_eq!(read(&store, id)?, Some(both));
        assert_eq!(read(&store, id)?, Some(SmallVersion { version: 1 }));
        let rest = BTreeMap::from([
            ("_id".to_owned(), json!(id)),
            ("_version".to_owned(), json!(1)),
        ]);
        assert_eq!(read(&store, id)?, Some(Flattened { items: 2, rest }));
        assert_eq!(read(&store, id)?, Some(Loose { items: 2 }));
    }
    assert_eq!(
        read(&store, "open")?,
        Some(Internal::Open {
            _id: "open".to_owned()
        })
    );
    Ok(())
}

#[test]
fn only_an_error_that_is_about_the_ids_names_the_setter() -> anyhow::Result<()> {
    #[derive(Debug, Deserialize)]
    struct Nested {
        #[expect(dead_code, reason = "never read")]
        cart: Cart,
    }
    #[derive(Debug, Deserialize)]
    struct Own<I, V> {
        _id: I,
        _version: V,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct IdOnly {
        _id: String,
    }
    #[derive(Debug, Deserialize)]
    struct Missing {
        #[expect(dead_code, reason = "never read")]
        missing: u8,
    }
    fn read<T: DeserializeOwned>(store: &EventStore, id: &str) -> Result<Option<T>> {
        store.collection("others").find_by_id(id)
    }
    let (_database, store) = store()?;
    let others = store.collection::<Value>("others");
    others.insert_one(&json!({"_id": "x", "cart": {"items": 1, "_id": "inner"}}))?;
    others.insert_one(&json!({"_id": "y"}))?;

    for read in [
        read::<Nested>(&store, "x").map(drop),
        read::<Missing>(&store, "x").map(drop),
    ] {
        let text = format!("{:#}", anyhow::Error::new(read.unwrap_err()));
        assert!(
            text.contains("does not fit the type") && !text.contains("without_ids"),
            "{text}"
        );
    }
    // Lacking a field of its own, too, it is told of the ids first.
    assert_names_the_setter(read::<Cart>(&store, "y"), "another field is missing");
    assert_names_the_setter(
        read::<IdOnly>(&store, "y"),
        "it takes the id and not the version",
    );
    assert_names_the_setter(read::<Own<i64, u64>>(&store, "y"), "the id is no number");
    assert_names_the_setter(
        read::<Own<String, String>>(&store, "y"),
        "the version is no string",
    );
    Ok(())
}

#[test]
fn a_hook_sees_the_ids_of_a_document_that_is_read_without_them() -> anyhow::Result<()> {
    let (_database, store) = carts(2)?;
    let evolution = DocumentEvolution::new().upcast(|mut stored| {
        anyhow::ensure!(
            stored["_id"].is_string() && stored["_version"] == 1,
            "{stored}"
        );
        stored["items"] = json!(7);
        Ok(stored)
    });
    let carts = || {
        store
            .collection::<Cart>("carts")
            .evolving(evolution.clone())
    };

    let all = carts().without_ids().find(json!({})).to_vec()?;
    assert_eq!(all, [cart(7), cart(7)]);
    assert_names_the_setter(carts().find_by_id("a"), "a hook leaves the ids");
    Ok(())
}

fn counted() -> DocumentProjection<Cart> {
    DocumentProjection::single_stream("counted", |cart: Option<Cart>, _: &Recorded<CartEvent>| {
        Some(Cart {
            items: cart.map_or(0, |cart| cart.items) + 1,
        })
    })
}

#[test]
fn a_projection_folds_documents_without_their_ids_where_it_is_asked_to() -> anyhow::Result<()> {
    let database = database();
    let refusing = EventStore::builder(database.url())
        .inline_projection(counted())
        .open()?;
    refusing.append_to_stream("one", &[added("shoes", 1)])?;
    let refused = refusing.append_to_stream("one", &[added("shoes", 1)]);
    let text = format!("{:#}", anyhow::Error::new(refused.unwrap_err()));
    assert!(
        text.contains("`without_ids()` on the collection or the projection"),
        "{text}"
    );

    let store = EventStore::builder(database.url())
        .inline_projection(counted().without_ids())
        .open()?;
    store.append_to_stream("one", &[added("shoes", 1)])?;
    let carts = store.collection::<Cart>("counted").without_ids();
    assert_eq!(carts.find_by_id("one")?, Some(cart(2)));
    assert_eq!(carts.only_if_active().find_one(json!({}))?, Some(cart(2)));
    let stored = database
        .client()?
        .query_one("SELECT data::text FROM counted", &[])?;
    assert_eq!(stored.get::<_, &str>(0), r#"{"items": 2}"#);
    Ok(())
}

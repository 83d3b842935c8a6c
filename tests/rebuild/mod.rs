//! Rebuilds of read models beside the live ones.

mod appending;
mod asynchronous;
mod failing;
mod killed;
mod sql;
mod switching;
mod tenants;
mod versions;
mod workers;

use crate::support::{CartEvent, added, database};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{ConnectionOptions, DocumentProjection, EventStore, FeedOptions, Recorded};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many items were added, of each product and of all: one append writes two documents or more.
fn items() -> DocumentProjection<Value> {
    DocumentProjection::multi_stream("items", ids, |item: Option<Value>, recorded| {
        let before = item.and_then(|item| item["n"].as_u64()).unwrap_or(0);
        Some(json!({ "n": before + quantity(recorded) }))
    })
}

fn ids(recorded: &Recorded<CartEvent>) -> Vec<String> {
    match &recorded.event {
        CartEvent::ProductItemAdded { product_id, .. } => {
            vec!["all".to_owned(), product_id.clone()]
        }
        _ => Vec::new(),
    }
}

fn quantity(recorded: &Recorded<CartEvent>) -> u64 {
    match &recorded.event {
        CartEvent::ProductItemAdded { quantity, .. } => u64::from(*quantity),
        _ => 0,
    }
}

fn open(database: &Database) -> anyhow::Result<EventStore> {
    Ok(EventStore::builder(database.url())
        .inline_projection(items())
        .connection_options(ConnectionOptions::new().pool_size(16))
        .open()?)
}

/// A store with so many events and their read model.
fn store_with(events: u32) -> anyhow::Result<(Database, EventStore)> {
    let database = database();
    let store = open(&database)?;
    append(&store, events)?;
    Ok((database, store))
}

fn append(store: &EventStore, events: u32) -> anyhow::Result<()> {
    let products = ["hat", "shoe", "shirt", "sock", "größe"];
    for number in 0..events {
        let product = products[number as usize % products.len()];
        store.append_to_stream(
            &format!("Cart-{}", number % 7),
            &[added(product, number % 3 + 1)],
        )?;
    }
    Ok(())
}

/// What a collection says: a number by document.
fn model(store: &EventStore, collection: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let documents = store
        .collection::<Value>(collection)
        .find(json!({}))
        .to_vec()?;
    Ok(documents
        .iter()
        .filter_map(|item| Some((item["_id"].as_str()?.to_owned(), item["n"].as_u64()?)))
        .collect())
}

/// What the stored events give.
fn folded(store: &EventStore) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut items = BTreeMap::new();
    for recorded in store.read_all::<CartEvent>(FeedOptions::new()) {
        let recorded = recorded?;
        for id in ids(&recorded) {
            *items.entry(id).or_default() += quantity(&recorded);
        }
    }
    Ok(items)
}

/// Damages the read model: one document is missing, one is wrong, one should not be there.
fn damage(store: &EventStore) -> anyhow::Result<()> {
    let items = store.collection::<Value>("items");
    for id in ["hat", "shoe"] {
        items.delete_many(json!({ "_id": id }))?;
    }
    items.insert_one(&json!({ "_id": "shoe", "n": 1_000_000 }))?;
    items.insert_one(&json!({ "_id": "ghost", "n": 1 }))?;
    Ok(())
}

/// Nothing of a rebuild is left.
fn assert_cleaned_up(database: &Database) -> anyhow::Result<()> {
    let row = database.client()?.query_one(
        "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'emt\\_shadow%')
              + (SELECT count(*) FROM emt_rebuilds)",
        &[],
    )?;
    assert_eq!(row.get::<_, i64>(0), 0, "tables of a rebuild are left");
    Ok(())
}

/// How many sessions of the database wait for a lock.
fn waiting(database: &Database) -> anyhow::Result<i64> {
    let row = database.client()?.query_one(
        "SELECT count(*) FROM pg_stat_activity
          WHERE datname = current_database() AND wait_event_type = 'Lock'",
        &[],
    )?;
    Ok(row.get(0))
}

#[test]
fn a_damaged_read_model_is_repaired_and_a_second_rebuild_changes_nothing() -> anyhow::Result<()> {
    let (database, store) = store_with(50)?;
    let rows = || -> anyhow::Result<Vec<String>> {
        let rows = database.client()?.query(
            "SELECT format('%s %s %s %s', xmin, _version, _updated, data) FROM items ORDER BY _id",
            &[],
        )?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    };
    damage(&store)?;
    let damaged = rows()?;

    let report = store.rebuild("items").batch_size(7).run()?;
    let repaired = rows()?;
    let again = store.rebuild("items").batch_size(100).run()?;

    assert_eq!((report.handled, again.handled), (50, 50));
    assert_eq!(model(&store, "items")?, folded(&store)?);
    assert_eq!(rows()?, repaired, "equal documents are not even touched");
    let untouched = damaged.iter().filter(|row| repaired.contains(row)).count();
    assert_eq!(untouched, 4, "{damaged:?} {repaired:?}");
    append(&store, 10)?;
    assert_eq!(model(&store, "items")?, folded(&store)?);
    assert_cleaned_up(&database)
}

#[test]
fn an_empty_store_is_rebuilt_to_an_empty_read_model() -> anyhow::Result<()> {
    let (database, store) = store_with(0)?;
    store
        .collection::<Value>("items")
        .insert_one(&json!({ "_id": "ghost", "n": 1 }))?;

    let report = store.rebuild("items").workers(2).run()?;

    assert_eq!((report.handled, report.position), (0, 0));
    assert!(model(&store, "items")?.is_empty());
    assert_cleaned_up(&database)
}

#[test]
fn progress_counts_events_and_says_how_long_it_takes() -> anyhow::Result<()> {
    let (_database, store) = store_with(45)?;
    let mut seen = Vec::new();

    let report = store
        .rebuild("items")
        .batch_size(10)
        .on_progress(|progress| seen.push(progress))
        .run()?;

    let handled: Vec<u64> = seen.iter().map(|progress| progress.handled).collect();
    assert_eq!(handled[..5], [10, 20, 30, 40, 45]);
    assert!(seen.iter().all(|progress| progress.head == 45
        && progress.per_second > 0.0
        && progress.left.is_some()));
    assert!(seen[0].left > seen[4].left);
    assert_eq!((report.handled, report.position), (45, 45));
    assert!(report.took >= report.locked);
    Ok(())
}

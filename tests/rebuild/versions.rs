//! Two versions of a projection, side by side.

use super::{assert_cleaned_up, folded, ids, model, quantity, store_with};
use crate::support::{added, wait_until, wait_until_active};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    DocumentProjection, EventStore, projection::ProjectionStatus, rebuild::OnHistory,
};
use serde_json::{Value, json};

/// Version 2 counts double.
fn doubled() -> DocumentProjection<Value> {
    DocumentProjection::multi_stream("items", ids, |item: Option<Value>, recorded| {
        let before = item.and_then(|item| item["n"].as_u64()).unwrap_or(0);
        Some(json!({ "n": before + 2 * quantity(recorded) }))
    })
    .version(2)
}

fn open_doubled(database: &Database) -> anyhow::Result<EventStore> {
    Ok(EventStore::builder(database.url())
        .inline_projection(doubled())
        .on_history(OnHistory::Leave)
        .open()?)
}

#[test]
fn the_old_version_serves_until_the_new_one_is_built_and_is_followed_then() -> anyhow::Result<()> {
    let (database, old) = store_with(30)?;
    let new = open_doubled(&database)?;
    let before = model(&old, "items")?;
    let mut served = 0;

    new.append_to_stream("Cart-1", &[added("hat", 1)])?;
    wait_until_active_version(&old, 1);
    new.rebuild("items")
        .batch_size(10)
        .on_progress(|progress| {
            if progress.handled == 20 {
                assert_ne!(model(&new, "items").expect("a read model"), before);
                let appended = old
                    .append_to_stream("Cart-1", &[added("hat", 1)])
                    .expect("the old version is the active one");
                assert_eq!(appended.projections, ["items"]);
                served += 1;
            }
        })
        .run()?;
    let late = old.append_to_stream("Cart-1", &[added("hat", 1)])?;
    wait_until_active(&new);
    let own = new.append_to_stream("Cart-1", &[added("hat", 1)])?;

    assert_eq!(served, 1);
    assert!(late.projections.is_empty());
    assert_eq!(own.projections, ["items"]);
    let doubled: Vec<u64> = folded(&new)?.values().map(|n| 2 * n).collect();
    assert_eq!(
        model(&new, "items")?.into_values().collect::<Vec<_>>(),
        doubled
    );
    assert_cleaned_up(&database)
}

/// Waits until a version of the only projection is active.
fn wait_until_active_version(store: &EventStore, version: u32) {
    wait_until("the version is active", || {
        let projections = store.registered_projections().expect("the registry");
        projections.iter().any(|projection| {
            projection.version == version && projection.status == ProjectionStatus::Active
        })
    });
}

#[test]
fn the_old_read_model_is_kept_beside_the_new_one_until_it_is_dropped() -> anyhow::Result<()> {
    let (database, old) = store_with(30)?;
    old.tenants().add("acme")?;
    let (acme, new) = (old.tenant("acme")?, open_doubled(&database)?);
    super::append(&acme, 3)?;
    let (before, of_acme) = (model(&old, "items")?, model(&acme, "items")?);

    new.rebuild("items").keep_old().run()?;
    new.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let kept = model(&new, "items_v1")?;
    new.tenant("acme")?.rebuild("items").keep_old().run()?;
    let dropped = new.drop_old_model("items")?;

    assert_eq!(kept, before);
    assert!(dropped);
    assert!(model(&new, "items_v1")?.is_empty());
    assert_eq!(model(&acme, "items_v1")?, of_acme, "the other tenant's");
    assert!(acme.drop_old_model("items")?);
    assert!(!acme.drop_old_model("items")?);
    let row = database
        .client()?
        .query_one("SELECT to_regclass('items_v1') IS NULL", &[])?;
    assert!(row.get::<_, bool>(0));
    assert_cleaned_up(&database)
}

#[test]
fn a_collection_of_the_users_is_not_taken_for_the_old_read_model() -> anyhow::Result<()> {
    let (database, store) = store_with(3)?;
    let own = store.collection::<Value>("items_v1");
    own.insert_one(&json!({ "_id": "mine" }))?;

    let refused = store.rebuild("items").keep_old().run();
    let dropped = store.drop_old_model("items")?;

    let error = refused.expect_err("the name is taken").to_string();
    assert!(error.contains("cannot be kept as \"items_v1\""), "{error}");
    assert!(!dropped);
    assert_eq!(own.count_documents(json!({}))?, 1);
    assert_cleaned_up(&database)
}

#[test]
fn a_stale_read_model_is_active_again() -> anyhow::Result<()> {
    let (database, store) = store_with(3)?;
    let plain = EventStore::open(database.url())?;
    plain.append_to_stream("Cart-1", &[added("hat", 7)])?;
    database
        .client()?
        .batch_execute("UPDATE emt_projections SET status = 'stale'")?;
    let status = || -> anyhow::Result<Vec<String>> {
        let registered = store.registered_projections()?;
        Ok(registered
            .iter()
            .map(|one| one.status.to_string())
            .collect())
    };

    let before = status()?;
    store.rebuild("items").run()?;

    assert_eq!(
        (before, status()?),
        (vec!["stale".to_owned()], vec!["active".to_owned()])
    );
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    assert_eq!(model(&store, "items")?, folded(&store)?);
    Ok(())
}

//! Adding, listing and removing tenants.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, FeedOptions, RawEvent, ReadOptions, Recorded, Result,
    StreamMessages,
    error::ProjectionError,
    operations::{ExportOptions, ImportOptions},
};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime};

const OPENED: &str = "{\"streamName\":\"Cart-1\",\"type\":\"Opened\",\"data\":{}}";

fn names(store: &EventStore) -> Result<Vec<String>> {
    let tenants = store.tenants().list()?;
    Ok(tenants.into_iter().map(|tenant| tenant.name).collect())
}

fn opened() -> RawEvent {
    RawEvent::new("Opened", json!({}))
}

fn store_with_counts(url: &str) -> Result<EventStore> {
    let counts = DocumentProjection::single_stream(
        "counts",
        |count: Option<Value>, _: &Recorded<RawEvent>| {
            let before = count.and_then(|count| count["events"].as_u64());
            Some(json!({ "events": before.unwrap_or(0) + 1 }))
        },
    );
    EventStore::builder(url).inline_projection(counts).open()
}

#[test]
fn tenants_are_listed_by_name_and_the_store_itself_is_none() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    assert_eq!(names(&store)?, [""; 0]);

    for name in ["zoo", "acme", "Zoo", "acme 2", "ärzte"] {
        assert!(store.tenants().add(name)?);
    }

    assert_eq!(names(&store)?, ["Zoo", "acme", "acme 2", "zoo", "ärzte"]);
    let age = SystemTime::now().duration_since(store.tenants().list()?[0].created_at)?;
    assert!(age < Duration::from_secs(60));
    Ok(())
}

#[test]
fn adding_a_tenant_again_says_that_it_exists_and_keeps_its_events() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    assert!(store.tenants().add("acme")?);
    let acme = store.tenant("acme")?;
    acme.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    assert!(!store.tenants().add("acme")?);
    assert!(!store.tenants().add("emt:default")?);

    assert_eq!(names(&store)?, ["acme"]);
    assert_eq!(acme.read_stream::<CartEvent>("Cart-1")?.current_version, 1);
    Ok(())
}

#[test]
fn of_many_who_add_a_tenant_at_once_one_has_added_it() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let added = std::thread::scope(|scope| {
        let add = || store.tenants().add("acme");
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(add)).collect();
        let results = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        results.collect::<Result<Vec<bool>>>()
    })?;

    assert_eq!(added.iter().filter(|&&added| added).count(), 1);
    let appended = store
        .tenant("acme")?
        .append_to_stream("Cart-1", &[opened()])?;
    assert_eq!(appended.next_expected_version, 1);
    Ok(())
}

#[test]
fn looking_at_a_removal_counts_and_deletes_nothing() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    acme.append_to_stream("Cart-1", &[added("shoes", 1), added("hat", 1)])?;
    acme.append_to_stream("Cart-2", &[added("shirt", 1)])?;
    acme.archive_stream("Cart-2")?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    let removal = store.tenants().remove("acme")?;

    assert_eq!((removal.streams, removal.messages), (2, 3));
    drop(removal);
    assert_eq!(names(&store)?, ["acme"]);
    assert_eq!(acme.read_all::<RawEvent>(FeedOptions::new()).count(), 3);
    Ok(())
}

#[test]
fn a_removed_tenant_is_unknown_and_the_others_are_unharmed() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for name in ["acme", "acme_2"] {
        store.tenants().add(name)?;
        store
            .tenant(name)?
            .append_to_stream("Cart-1", &[added("shoes", 1)])?;
    }

    store.tenants().remove("acme")?.with_all_data()?;

    assert_eq!(names(&store)?, ["acme_2"]);
    assert_everything_is_refused(&store.tenant("acme")?, "acme")?;
    let other = store.tenant("acme_2")?;
    assert_eq!(other.read_stream::<CartEvent>("Cart-1")?.current_version, 1);
    assert_eq!(other.read_all::<RawEvent>(FeedOptions::new()).count(), 1);
    Ok(())
}

#[test]
fn a_tenant_that_was_never_added_is_unknown_to_every_operation() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let nobody = store.tenant("nobody")?;

    assert_everything_is_refused(&nobody, "nobody")?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    assert_everything_is_refused(&nobody, "nobody")?;

    assert_eq!(names(&store)?, [""; 0]);
    Ok(())
}

#[track_caller]
fn assert_unknown<T: std::fmt::Debug>(result: Result<T>, name: &str) {
    match result {
        Err(Error::UnknownTenant { tenant, .. }) => assert_eq!(tenant, name),
        other => panic!("expected an unknown tenant, got {other:?}"),
    }
}

fn assert_everything_is_refused(tenant: &EventStore, name: &str) -> anyhow::Result<()> {
    let events = [opened()];
    assert_unknown(tenant.append_to_stream("Cart-1", &events), name);
    let several = vec![StreamMessages::new("Cart-1", &events)?];
    assert_unknown(tenant.append_to_streams(several), name);
    let append = tenant.with_session(|session| Ok(session.append_to_stream("Cart-1", &events)?));
    assert_unknown(append, name);

    assert_unknown(tenant.read_stream::<RawEvent>("Cart-1"), name);
    let read = tenant.read_stream_iter::<RawEvent>("Cart-1", ReadOptions::new());
    assert_unknown(read.collect::<Result<Vec<_>>>(), name);
    let state = tenant.aggregate_stream("Cart-1", || 0, |count, _: RawEvent| count + 1);
    assert_unknown(state, name);
    assert_unknown(tenant.stream_exists("Cart-1"), name);
    assert_unknown(tenant.stream_metadata("Cart-1"), name);
    assert_unknown(tenant.set_stream_metadata("Cart-1", &Map::new()), name);
    assert_unknown(tenant.archive_stream("Cart-1"), name);
    assert_unknown(tenant.unarchive_stream("Cart-1"), name);

    let feed = tenant.read_all::<RawEvent>(FeedOptions::new());
    assert_unknown(feed.collect::<Result<Vec<_>>>(), name);
    assert_unknown(tenant.feed_horizon(0), name);
    assert_unknown(tenant.export(Vec::new(), ExportOptions::new()), name);
    assert_unknown(tenant.import(OPENED.as_bytes(), ImportOptions::new()), name);
    assert_unknown(tenant.tenants().remove(name), name);
    Ok(())
}

#[test]
fn an_unknown_tenant_is_unknown_to_a_store_with_projections_too() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let store = store_with_counts(database.url())?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    let nobody = store.tenant("nobody")?;
    let append = nobody.append_to_stream("Cart-1", &[added("shoes", 1)]);
    let import = nobody.import(OPENED.as_bytes(), ImportOptions::new());

    assert_unknown(append, "nobody");
    assert_unknown(import, "nobody");
    Ok(())
}

#[test]
fn removing_a_tenant_twice_says_that_it_is_gone() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.tenants().add("acme")?;
    let first = store.tenants().remove("acme")?;
    let second = store.tenants().remove("acme")?;

    first.with_all_data()?;

    assert_unknown(second.with_all_data(), "acme");
    assert_unknown(store.tenants().remove("acme"), "acme");
    Ok(())
}

#[test]
fn the_store_itself_cannot_be_removed() -> anyhow::Result<()> {
    let (database, store) = store()?;

    let refused = store.tenants().remove("emt:default");
    let by_sql = database
        .client()?
        .query("SELECT emt_partition_drop('emt:default')", &[]);

    let Err(Error::InvalidInput { reason, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(reason, "is the store itself and cannot be removed");
    assert!(by_sql.is_err_and(|error| error.code().is_some_and(|code| code.code() == "SE004")));
    assert_eq!(
        store
            .append_to_stream("Cart-1", &[opened()])?
            .next_expected_version,
        1
    );
    Ok(())
}

#[test]
fn a_tenant_that_is_added_again_is_empty() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let store = store_with_counts(database.url())?;
    store.append_to_stream("Cart-1", &[opened()])?;

    for round in 1..=3 {
        assert!(store.tenants().add("acme")?, "round {round}");
        // A store that has known the tenant before its removal, and one that has not.
        for store in [&store, &store_with_counts(database.url())?] {
            let acme = store.tenant("acme")?;
            assert_empty_and_usable(&acme)?;
            store.tenants().remove("acme")?.with_all_data()?;
            store.tenants().add("acme")?;
        }
        store.tenants().remove("acme")?.with_all_data()?;
    }

    let documents = store.collection::<Value>("counts");
    assert_eq!(documents.count_documents(json!({}))?, 1);
    assert_eq!(store.read_all::<RawEvent>(FeedOptions::new()).count(), 1);
    Ok(())
}

#[test]
fn a_session_that_meets_a_tenant_added_again_by_others_works_from_the_second_time_on()
-> anyhow::Result<()> {
    let (database, others) = store()?;
    let store = store_with_counts(database.url())?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    let append =
        || acme.with_session(|session| Ok(session.append_to_stream("Cart-1", &[opened()])?));
    append()?;

    others.tenants().remove("acme")?.with_all_data()?;
    others.tenants().add("acme")?;

    assert!(matches!(
        append(),
        Err(Error::Projection(ProjectionError::Mismatch { .. }))
    ));
    assert_eq!(append()?.next_expected_version, 1);
    Ok(())
}

#[test]
fn a_session_that_meets_a_tenant_added_again_by_its_own_store_works_at_once() -> anyhow::Result<()>
{
    let (database, _) = store()?;
    let store = store_with_counts(database.url())?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    let append =
        || acme.with_session(|session| Ok(session.append_to_stream("Cart-1", &[opened()])?));
    append()?;

    store.tenants().remove("acme")?.with_all_data()?;
    store.tenants().add("acme")?;

    assert_eq!(append()?.next_expected_version, 1);
    Ok(())
}

fn assert_empty_and_usable(tenant: &EventStore) -> anyhow::Result<()> {
    let documents = tenant.collection::<Value>("counts");
    assert_eq!(documents.count_documents(json!({}))?, 0);
    assert_eq!(tenant.read_all::<RawEvent>(FeedOptions::new()).count(), 0);

    let imported = tenant.import(OPENED.as_bytes(), ImportOptions::new())?;
    let appended = tenant.append_to_stream("Cart-1", &[opened()])?;
    assert_eq!((imported.imported, appended.next_expected_version), (1, 2));
    let count = documents.find_one(json!({ "_id": "Cart-1" }))?;
    assert_eq!(count.unwrap_or_default()["events"], 2);
    assert_eq!(tenant.archive_stream("Cart-1")?, Some(2));
    Ok(())
}

#[test]
fn a_removal_leaves_no_row_of_the_tenant_anywhere() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let store = store_with_counts(database.url())?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    acme.append_to_stream("Cart-2", &[opened()])?;
    acme.collection::<Value>("notes")
        .insert_one(&json!({ "text": "own" }))?;
    acme.import(OPENED.as_bytes(), ImportOptions::new())?;

    store.tenants().remove("acme")?.with_all_data()?;

    let mut client = database.client()?;
    let tables = client.query(
        "SELECT attrelid::REGCLASS::TEXT, attname::TEXT
           FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
          WHERE attname IN ('partition', '_partition') AND relkind IN ('r', 'p') AND NOT relispartition",
        &[],
    )?;
    assert_eq!(
        tables.len(),
        17,
        "three partitioned tables, tenants, message ids, command keys, snapshots, timers, missed events, imports, slots, their beginnings, parked messages, rebuilds and requests, two collections"
    );
    for table in tables {
        let (table, column): (String, String) = (table.get(0), table.get(1));
        let left = client.query(&format!("SELECT FROM {table} WHERE {column} = 'acme'"), &[])?;
        assert_eq!(left.len(), 0, "{table}");
    }
    Ok(())
}

//! Adding and removing a tenant neither waits for the appends and reads of others, nor delays them.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    DocumentProjection, Error, EventStore, FeedOptions, RawEvent, Recorded, Session,
};
use serde_json::{Value, json};

/// A store whose statements fail where they would wait.
fn impatient(database: &Database) -> Result<EventStore, Error> {
    let counts = DocumentProjection::single_stream(
        "counts",
        |count: Option<Value>, _: &Recorded<RawEvent>| {
            let before = count.and_then(|count| count["events"].as_u64());
            Some(json!({ "events": before.unwrap_or(0) + 1 }))
        },
    );
    let separator = if database.url().contains('?') {
        '&'
    } else {
        '?'
    };
    let url = format!(
        "{}{separator}options=-c%20lock_timeout%3D100ms",
        database.url()
    );
    EventStore::builder(&url).inline_projection(counts).open()
}

/// A transaction that has appended, read, and written a document.
fn open_work(store: &EventStore) -> Result<Session<'static>, Error> {
    let mut session = store.begin()?;
    session.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    session.append_to_stream("Cart-2", &[added("shoes", 1), added("hat", 1)])?;
    session.read_stream::<CartEvent>("Cart-1")?;
    session
        .collection::<Value>("counts")
        .find(json!({}))
        .to_vec()?;
    Ok(session)
}

#[test]
fn a_tenant_is_added_and_removed_beside_open_appends_and_reads() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let store = impatient(&database)?;
    for name in ["other", "leaving"] {
        store.tenants().add(name)?;
        store
            .tenant(name)?
            .append_to_stream("Cart-1", &[added("shoes", 1)])?;
    }

    let open = [open_work(&store)?, open_work(&store.tenant("other")?)?];
    store.tenants().add("coming")?;
    store
        .tenant("coming")?
        .append_to_stream("Cart-1", &[added("shoes", 1)])?;
    store.tenants().remove("leaving")?.with_all_data()?;
    store.tenants().add("leaving")?;

    for session in open {
        session.commit()?;
    }
    assert_eq!(store.read_stream::<CartEvent>("Cart-2")?.current_version, 2);
    assert!(!store.tenant("leaving")?.stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn a_tenant_is_added_beside_a_reader_of_all_tenants() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let store = impatient(&database)?;
    let mut client = database.client()?;

    let mut reader = client.transaction()?;
    reader.query("SELECT FROM emt_messages", &[])?;
    reader.query("SELECT FROM emt_streams", &[])?;
    store.tenants().add("coming")?;
    reader.query("SELECT FROM emt_messages", &[])?;

    assert_eq!(store.tenants().list()?.len(), 1);
    Ok(())
}

#[test]
fn nobody_waits_for_a_tenant_that_is_being_added_or_removed() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let store = impatient(&database)?;
    for name in ["other", "leaving", "left"] {
        store.tenants().add(name)?;
        store
            .tenant(name)?
            .append_to_stream("Cart-1", &[added("shoes", 1)])?;
    }
    store.tenants().remove("left")?.with_all_data()?;
    let mut client = database.client()?;

    for change in [
        "SELECT emt_partition_create('coming')",
        "SELECT emt_partition_drop('leaving')",
        "SELECT emt_partition_create('left')",
    ] {
        let mut open = client.transaction()?;
        open.query(change, &[])?;
        // One with plans from before, and a new one.
        for store in [&store, &impatient(&database)?] {
            use_default_and_other(store)?;
        }
        open.commit()?;
    }

    assert_eq!(store.tenants().list()?.len(), 3);
    Ok(())
}

fn use_default_and_other(store: &EventStore) -> anyhow::Result<()> {
    for store in [store, &store.tenant("other")?] {
        open_work(store)?.commit()?;
        let feed = store.read_all::<RawEvent>(FeedOptions::new());
        assert!(feed.collect::<Result<Vec<_>, _>>()?.len() > 1);
        assert!(store.archive_stream("Cart-1")?.is_some());
        assert!(store.unarchive_stream("Cart-1")?.is_some());
    }
    Ok(())
}

#[test]
fn removing_a_tenant_waits_for_its_own_open_append() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let store = impatient(&database)?;
    store.tenants().add("leaving")?;
    let leaving = store.tenant("leaving")?;

    let open = open_work(&leaving)?;
    let early = store.tenants().remove("leaving")?.with_all_data();
    open.commit()?;
    store.tenants().remove("leaving")?.with_all_data()?;

    assert!(early.is_err_and(|error| error.is_retryable()));
    let gone = leaving.stream_exists("Cart-1");
    assert!(matches!(gone, Err(Error::UnknownTenant { .. })), "{gone:?}");
    Ok(())
}

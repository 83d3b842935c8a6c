//! Tenants see their own, and come and go without disturbing others.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{Error, EventStore, FeedOptions, ImportOptions, RawEvent};
use serde_json::{Value, json};
use std::time::Duration;

const LINE: &str = r#"{"streamName":"Cart-9","type":"X","data":{}}"#;

#[test]
fn a_tenants_streams_feed_documents_and_imports_are_its_own() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for tenant in ["acme", "globex"] {
        assert!(store.tenants().add(tenant)?);
    }
    let (acme, globex) = (store.tenant("acme")?, store.tenant("globex")?);

    acme.append_to_stream("Cart-1", &[added("a", 1)])?;
    globex.append_to_stream("Cart-1", &[added("b", 1), added("c", 1)])?;
    acme.collection::<Value>("notes")
        .insert_one(&json!({"_id": "1", "of": "acme"}))?;
    globex
        .collection::<Value>("notes")
        .insert_one(&json!({"_id": "1", "of": "globex"}))?;
    acme.import(LINE.as_bytes(), ImportOptions::new())?;
    globex.import(LINE.as_bytes(), ImportOptions::new())?;

    let versions = [&acme, &globex, &store].map(|store| {
        store
            .read_stream::<CartEvent>("Cart-1")
            .expect("a read")
            .current_version
    });
    assert_eq!(versions, [1, 2, 0]);
    let feeds = [&acme, &globex, &store]
        .map(|store| store.read_all::<RawEvent>(FeedOptions::new()).count());
    assert_eq!(feeds, [2, 3, 0]);
    let note = globex
        .collection::<Value>("notes")
        .find_one(json!({"_id": "1"}))?
        .expect("a note");
    assert_eq!(note["of"], "globex");
    assert_eq!(
        store
            .collection::<Value>("notes")
            .count_documents(json!({}))?,
        0
    );
    Ok(())
}

#[test]
fn a_removed_tenant_is_gone_with_its_data_and_may_come_back_empty() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    acme.append_to_stream("Cart-1", &[added("a", 1), added("b", 1)])?;
    acme.import(LINE.as_bytes(), ImportOptions::new())?;
    acme.collection::<Value>("notes")
        .insert_one(&json!({"_id": "1"}))?;

    let removal = store.tenants().remove("acme")?;
    assert_eq!((removal.streams, removal.messages), (2, 3));
    assert_eq!(
        acme.read_stream::<CartEvent>("Cart-1")?.current_version,
        2,
        "asked once, nothing is deleted"
    );
    removal.with_all_data()?;

    assert!(store.tenants().list()?.is_empty());
    assert!(matches!(
        store.tenants().remove("acme"),
        Err(Error::UnknownTenant { .. })
    ));
    assert!(matches!(
        acme.append_to_stream("Cart-1", &[added("a", 1)]),
        Err(Error::UnknownTenant { .. })
    ));
    assert!(store.tenants().add("acme")?);
    assert_eq!(
        acme.append_to_stream("Cart-1", &[added("a", 1)])?
            .next_expected_version,
        1
    );
    assert_eq!(
        acme.collection::<Value>("notes")
            .count_documents(json!({}))?,
        0
    );
    assert_eq!(
        acme.import(LINE.as_bytes(), ImportOptions::new())?.imported,
        1
    );
    Ok(())
}

#[test]
fn an_unknown_tenant_is_an_error_of_its_own() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let nobody = store.tenant("nobody")?;

    let append = nobody
        .append_to_stream("Cart-1", &[added("a", 1)])
        .map(|_| ());
    let session = nobody
        .with_session(|session| Ok(session.append_to_stream("Cart-1", &[added("a", 1)])?))
        .map(|_| ());
    let read = nobody.read_stream::<CartEvent>("Cart-1").map(|_| ());
    let exists = nobody.stream_exists("Cart-1").map(|_| ());
    let archive = nobody.archive_stream("Cart-1").map(|_| ());
    let import = nobody
        .import(LINE.as_bytes(), ImportOptions::new())
        .map(|_| ());
    let removal = store.tenants().remove("nobody").map(|_| ());

    for result in [append, session, read, exists, archive, import, removal] {
        assert!(
            matches!(&result, Err(Error::UnknownTenant { tenant }) if tenant == "nobody"),
            "{result:?}"
        );
    }
    Ok(())
}

#[test]
fn names_that_give_no_table_or_that_of_another_are_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.tenants().add("a-b")?;

    assert!(!store.tenants().add("a-b")?, "it exists");
    for name in ["", "nul\0", &"x".repeat(42), "a_b", "a b", "emt_default"] {
        let refused = store.tenants().add(name);
        assert!(
            matches!(refused, Err(Error::InvalidInput { .. })),
            "{name:?}: {refused:?}"
        );
    }
    assert!(matches!(
        store.tenants().remove("emt:default"),
        Err(Error::InvalidInput { .. })
    ));
    assert_eq!(store.tenants().list()?.len(), 1);
    Ok(())
}

#[test]
fn names_of_any_characters_are_tenants() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    for name in [
        "'); DROP TABLE emt_streams; --",
        "Ünï 🎉",
        "x\"y",
        "a'b",
        "50%$$",
        &"z".repeat(41),
    ] {
        store.tenants().add(name)?;
        let tenant = store.tenant(name)?;
        tenant.append_to_stream("Cart-1", &[added(name, 1)])?;
        assert_eq!(
            tenant.read_stream::<CartEvent>("Cart-1")?.events[0].event,
            added(name, 1)
        );
        assert!(
            store
                .tenants()
                .list()?
                .iter()
                .any(|tenant| tenant.name == name),
            "{name}"
        );
    }
    Ok(())
}

/// With this timeout, whatever waits for a lock fails.
fn impatient(url: &str) -> anyhow::Result<EventStore> {
    let separator = if url.contains('?') { '&' } else { '?' };
    Ok(EventStore::open(&format!(
        "{url}{separator}options=-c%20lock_timeout%3D1s"
    ))?)
}

#[test]
fn tenants_come_and_go_beside_the_open_appends_and_reads_of_others() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.tenants().add("busy")?;
    store.tenants().add("leaving")?;
    let mut appending = store.begin()?;
    appending.append_to_stream("Cart-1", &[added("a", 1)])?;
    let mut busy = store.tenant("busy")?.begin()?;
    busy.append_to_stream("Cart-1", &[added("a", 1)])?;
    let mut client = database.client()?;
    let mut reading = client.transaction()?;
    reading.query("SELECT * FROM emt_messages_emt_default", &[])?;

    let impatient = impatient(database.url())?;
    impatient.tenants().add("coming")?;
    impatient.tenants().remove("leaving")?.with_all_data()?;
    impatient.tenants().add("leaving")?;
    impatient
        .tenant("coming")?
        .append_to_stream("Cart-1", &[added("a", 1)])?;
    impatient.append_to_stream("Cart-2", &[added("a", 1)])?;

    appending.commit()?;
    busy.commit()?;
    reading.rollback()?;
    Ok(())
}

#[test]
fn removing_a_tenant_waits_for_its_own_open_append() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.tenants().add("busy")?;
    let mut busy = store.tenant("busy")?.begin()?;
    busy.append_to_stream("Cart-1", &[added("a", 1)])?;

    let refused = impatient(database.url())?
        .tenants()
        .remove("busy")?
        .with_all_data();

    assert!(
        refused.as_ref().is_err_and(Error::is_transient),
        "{refused:?}"
    );
    busy.commit()?;
    assert_eq!(
        store
            .tenant("busy")?
            .read_stream::<CartEvent>("Cart-1")?
            .current_version,
        1
    );
    Ok(())
}

#[test]
fn a_tenants_open_append_does_not_hold_back_the_feed_of_another() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.tenants().add("slow")?;
    let mut slow = store.tenant("slow")?.begin()?;
    slow.append_to_stream("Cart-1", &[added("a", 1)])?;

    store.append_to_stream("Cart-1", &[added("a", 1)])?;

    assert_eq!(store.read_all::<CartEvent>(FeedOptions::new()).count(), 1);
    assert_eq!(store.tenant("slow")?.feed_horizon(0)?.position, 0);
    slow.commit()?;
    Ok(())
}

#[test]
fn threads_may_add_the_same_tenant_at_once() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let added = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| store.tenants().add("acme")))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect::<Result<Vec<_>, _>>()
    })?;

    assert_eq!(added.iter().filter(|&&added| added).count(), 1);
    let since = store.tenants().list()?[0].created_at;
    assert!(since.elapsed()? < Duration::from_secs(600));
    Ok(())
}

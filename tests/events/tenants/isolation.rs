//! Tenants do not see each other's changes.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{
    AppendOptions, DocumentProjection, Error, EventStore, ExpectedVersion, FeedOptions, NewMessage,
    RawEvent, Recorded, Result, operations::ImportOptions,
};
use serde_json::{Value, json};

/// The store itself, and as two tenants see it.
fn with_tenants(store: &EventStore) -> Result<[EventStore; 3]> {
    for name in ["acme", "zoo"] {
        store.tenants().add(name)?;
    }
    Ok([store.clone(), store.tenant("acme")?, store.tenant("zoo")?])
}

#[test]
fn streams_of_one_name_are_different_streams() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let stores = with_tenants(&store)?;

    for (number, store) in (1..).zip(&stores) {
        let new = || AppendOptions::new().expect(ExpectedVersion::DoesNotExist);
        let events = vec![added("shoes", number); number as usize];
        store.append_to_stream_with("Cart-1", &events, new())?;
        let again = store.append_to_stream_with("Cart-1", &events, new());
        let actual = u64::from(number);
        assert!(matches!(again, Err(Error::Conflict { actual: found, .. }) if found == actual));
    }
    stores[1].archive_stream("Cart-1")?;

    for (number, store) in [(1, &stores[0]), (3, &stores[2])] {
        let read = store.read_stream::<CartEvent>("Cart-1")?;
        assert_eq!(read.current_version, u64::from(number));
        assert!(
            read.events
                .iter()
                .all(|recorded| recorded.event == added("shoes", number))
        );
    }
    assert!(!stores[1].stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn a_feed_has_its_own_tenants_messages_only() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let stores = with_tenants(&store)?;

    for round in 0..3 {
        for store in &stores {
            store.append_to_stream(&format!("Cart-{round}"), &[added("shoes", round)])?;
        }
    }

    for (first, store) in (1..).zip(&stores) {
        let feed = store.read_all::<RawEvent>(FeedOptions::new());
        let positions = feed.map(|recorded| Ok(recorded?.global_position));
        assert_eq!(
            positions.collect::<Result<Vec<u64>>>()?,
            [first, first + 3, first + 6]
        );
    }
    Ok(())
}

#[test]
fn an_open_append_holds_back_its_own_tenants_feed_only() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let stores = with_tenants(&store)?;

    let mut open = stores[1].begin()?;
    open.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    for store in &stores {
        store.append_to_stream("Cart-2", &[added("shoes", 1)])?;
    }

    let seen = || {
        stores
            .each_ref()
            .map(|store| store.read_all::<RawEvent>(FeedOptions::new()).count())
    };
    assert_eq!(seen(), [1, 0, 1]);
    open.commit()?;
    assert_eq!(seen(), [1, 2, 1]);
    Ok(())
}

#[test]
fn message_ids_of_one_tenant_are_new_to_another() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    for store in with_tenants(&store)? {
        let message = NewMessage::new(added("shoes", 1)).message_id("order-17");
        let appended = store.append_to_stream("Cart-1", std::slice::from_ref(&message))?;
        let repeated = store.append_to_stream("Cart-1", &[message])?;

        assert!(!appended.already_appended && repeated.already_appended);
    }
    Ok(())
}

#[test]
fn documents_projections_and_imports_are_each_tenants_own() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let counts = DocumentProjection::single_stream(
        "counts",
        |count: Option<Value>, _: &Recorded<RawEvent>| {
            let before = count.and_then(|count| count["events"].as_u64());
            Some(json!({ "events": before.unwrap_or(0) + 1 }))
        },
    );
    let store = EventStore::builder(database.url())
        .inline_projection(counts)
        .open()?;
    let stores = with_tenants(&store)?;
    let log = "{\"streamName\":\"Cart-1\",\"type\":\"Opened\",\"data\":{}}\n".repeat(2);

    for (number, store) in (1_u64..).zip(&stores) {
        for _ in 0..number {
            store.append_to_stream("Cart-1", &[RawEvent::new("Opened", json!({}))])?;
        }
        assert_eq!(
            store.import(log.as_bytes(), ImportOptions::new())?.imported,
            2
        );
        let note = json!({ "_id": "a", "number": number });
        store.collection::<Value>("notes").insert_one(&note)?;
    }
    stores[1]
        .collection::<Value>("notes")
        .delete_many(json!({}))?;
    stores[1].rebuild("counts").run()?;

    for (number, store) in (1_u64..).zip(&stores) {
        let count = store
            .collection::<Value>("counts")
            .find_one(json!({ "_id": "Cart-1" }))?;
        assert_eq!(count.unwrap_or_default()["events"], number + 2);
        let notes = store
            .collection::<Value>("notes")
            .find(json!({}))
            .to_vec()?;
        let kept: Vec<u64> = notes
            .iter()
            .filter_map(|note| note["number"].as_u64())
            .collect();
        assert_eq!(kept, if number == 2 { vec![] } else { vec![number] });
    }
    Ok(())
}

#[test]
fn a_session_stays_in_its_tenant() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let [_, acme, zoo] = with_tenants(&store)?;

    acme.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("shoes", 1)])?;
        let read = session.read_stream::<CartEvent>("Cart-1")?;
        anyhow::ensure!(read.current_version == 1);
        Ok(())
    })?;

    assert!(acme.stream_exists("Cart-1")? && !zoo.stream_exists("Cart-1")?);
    Ok(())
}

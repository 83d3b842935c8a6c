//! The metadata of an event: ids, kinds, causes, time, and the user's own metadata.

use crate::support::{CartEvent, added, store};
use emmett_postgresql::{
    AppendOptions, Error, NewMessage, RawEvent, Recorded, StreamMessages, events::MessageKind,
};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

fn new(product: &str) -> NewMessage<CartEvent> {
    NewMessage::new(added(product, 1))
}

#[test]
fn everything_about_a_message_comes_back() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let message = new("shoes")
        .message_id("order-17")
        .correlation_id("checkout-4")
        .causation_id("click-9")
        .metadata("clientId", "anna")
        .metadata("tags", json!(["a", {"b": null}]));

    let appended = store.append_to_stream("Cart-1", &[message])?;

    let recorded: Recorded<CartEvent> = store.read_stream("Cart-1")?.events.remove(0);
    assert_eq!(&*recorded.stream_name, "Cart-1");
    assert_eq!(recorded.stream_position, 1);
    assert_eq!(recorded.global_position, appended.last_global_position);
    assert_eq!(recorded.message_id, "order-17");
    assert_eq!(recorded.message_type, "ProductItemAdded");
    assert_eq!(
        (recorded.kind, recorded.schema_version),
        (MessageKind::Event, 1)
    );
    assert_eq!(recorded.correlation_id.as_deref(), Some("checkout-4"));
    assert_eq!(recorded.causation_id.as_deref(), Some("click-9"));
    assert_eq!(
        Value::from(recorded.metadata),
        json!({"clientId": "anna", "tags": ["a", {"b": null}]})
    );
    let age = SystemTime::now().duration_since(recorded.recorded_at)?;
    assert!(age < Duration::from_secs(60), "{age:?}");
    Ok(())
}

#[test]
fn an_event_alone_has_an_id_of_its_own_and_nothing_else() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let events: Vec<_> = (0..100).map(|number| added("shoes", number)).collect();

    store.append_to_stream("Cart-1", &events)?;

    let read = store.read_stream::<CartEvent>("Cart-1")?.events;
    let ids: HashSet<_> = read.iter().map(|recorded| &recorded.message_id).collect();
    assert_eq!(ids.len(), 100);
    let in_order = read.iter().map(|recorded| &recorded.message_id);
    assert!(
        in_order.is_sorted(),
        "ids of version 7 follow the order of their creation"
    );
    assert!(read.iter().all(|recorded| recorded.correlation_id.is_none()
        && recorded.causation_id.is_none()
        && recorded.metadata.is_empty()));
    Ok(())
}

#[test]
fn commands_are_told_from_events() -> anyhow::Result<()> {
    let (database, store) = store()?;

    store.append_to_stream("Cart-1", &[new("a"), new("b").kind(MessageKind::Command)])?;

    let read = store.read_stream::<CartEvent>("Cart-1")?.events;
    let kinds: Vec<_> = read.iter().map(|recorded| recorded.kind).collect();
    assert_eq!(kinds, [MessageKind::Event, MessageKind::Command]);
    let stored = database.client()?.query_one(
        "SELECT string_agg(message_kind, '' ORDER BY stream_position) FROM emt_messages",
        &[],
    )?;
    assert_eq!(stored.get::<_, &str>(0), "EC");
    Ok(())
}

#[test]
fn an_append_gives_its_messages_what_they_do_not_say_themselves() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let options = || {
        AppendOptions::new()
            .correlation_id("shared-correlation")
            .causation_id("shared-cause")
            .metadata("user", "anna")
            .metadata("shop", 7)
    };
    let own = new("b")
        .correlation_id("own-correlation")
        .metadata("user", "bea");

    store.append_to_stream_with("Cart-1", &[new("a"), own], options())?;
    store.append_to_streams(vec![StreamMessages::with(
        "Cart-1",
        &[added("c", 1)],
        &options(),
    )?])?;

    let read = store.read_stream::<CartEvent>("Cart-1")?.events;
    let shared = (
        Some("shared-correlation"),
        Some("shared-cause"),
        json!({"user": "anna", "shop": 7}),
    );
    let expected = [
        shared.clone(),
        (
            Some("own-correlation"),
            Some("shared-cause"),
            json!({"user": "bea", "shop": 7}),
        ),
        shared,
    ];
    let found = read.iter().map(|recorded| {
        (
            recorded.correlation_id.as_deref(),
            recorded.causation_id.as_deref(),
            Value::from(recorded.metadata.clone()),
        )
    });
    assert!(found.eq(expected), "{read:?}");
    Ok(())
}

#[test]
fn names_that_the_store_uses_itself_are_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for name in [
        "messageId",
        "correlationId",
        "causationId",
        "streamName",
        "streamPosition",
        "globalPosition",
        "checkpoint",
    ] {
        let by_message = store.append_to_stream("Cart-1", &[new("a").metadata(name, "x")]);
        let by_options = store.append_to_stream_with(
            "Cart-1",
            &[new("a")],
            AppendOptions::new().metadata(name, "x"),
        );

        for refused in [by_message, by_options] {
            assert!(
                matches!(&refused, Err(Error::InvalidInput { what, .. }) if what.contains(name)),
                "{refused:?}"
            );
        }
    }
    assert!(!store.stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn what_emmett_keeps_in_the_metadata_is_not_the_users() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("a", 1)])?;
    database.client()?.batch_execute(
        r#"UPDATE emt_messages SET message_metadata = '{"messageId": "m", "streamName": "s", "streamPosition": 1,
             "globalPosition": 2, "checkpoint": 3, "correlationId": "c", "causationId": null, "own": true}'"#,
    )?;

    let recorded = store.read_stream::<CartEvent>("Cart-1")?.events.remove(0);

    assert_eq!(Value::from(recorded.metadata), json!({"own": true}));
    assert_eq!(
        (recorded.correlation_id.as_deref(), recorded.causation_id),
        (Some("c"), None)
    );
    Ok(())
}

#[test]
fn messages_of_one_transaction_have_one_time() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    store.with_session(|session| {
        session.append_to_stream("Cart-1", &[added("a", 1)])?;
        session.append_to_stream("Cart-1", &[added("b", 1)])?;
        Ok(())
    })?;
    store.append_to_stream("Cart-1", &[RawEvent::new("Later", json!({}))])?;

    let read = store.read_stream::<RawEvent>("Cart-1")?.events;
    assert_eq!(read[0].recorded_at, read[1].recorded_at);
    assert!(read[1].recorded_at < read[2].recorded_at);
    Ok(())
}

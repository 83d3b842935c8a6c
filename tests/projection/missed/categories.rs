//! An inline projection misses only the events of its own category, even if other events have the same type name.

use crate::support::{database, wait_until_active};
use emmett_postgresql::{
    DocumentProjection, Event, EventStore, Recorded, projection::ProjectionStatus,
};
use postgres::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Serialize, Deserialize)]
enum OrderEvent {
    Created {},
}

impl Event for OrderEvent {
    const CATEGORY: &'static str = "Order";
}

#[derive(Debug, Serialize, Deserialize)]
enum InvoiceEvent {
    Created {},
}

impl Event for InvoiceEvent {
    const CATEGORY: &'static str = "Invoice";
}

fn noted(client: &mut Client) -> anyhow::Result<Vec<i64>> {
    let positions = "SELECT global_position FROM emt_missed ORDER BY global_position";
    let rows = client.query(positions, &[])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// As any other client would: without a function of ours.
fn insert(client: &mut Client, stream: &str) -> Result<u64, postgres::Error> {
    client.execute(
        "INSERT INTO emt_messages
             (stream_id, stream_position, message_id, message_type, message_schema_version, message_data, message_metadata)
         VALUES ($1, 1, gen_random_uuid()::TEXT, 'Created', '1', '{}', '{}')",
        &[&stream],
    )
}

#[test]
fn an_event_of_another_category_is_neither_handled_nor_noted() -> anyhow::Result<()> {
    let database = database();
    let orders = DocumentProjection::single_stream(
        "orders",
        |order: Option<Value>, _: &Recorded<OrderEvent>| {
            let count = order.and_then(|order| order["count"].as_u64());
            Some(json!({ "count": count.unwrap_or_default() + 1 }))
        },
    );
    let store = EventStore::builder(database.url())
        .inline_projection(orders)
        .open()?;
    let stranger = EventStore::open(database.url())?;
    let mut client = database.client()?;
    // Whatever is noted stays until this transaction ends: no other one can follow.
    let mut following = database.client()?;
    let mut following = following.transaction()?;
    let follow = "SELECT pg_advisory_xact_lock(emt_missed_lock_key('emt:default', 'orders'))";
    following.query(follow, &[])?;

    store.append_to_stream("Invoice-1", &[InvoiceEvent::Created {}])?;
    store.append_to_stream("Order-1", &[OrderEvent::Created {}])?;
    stranger.append_to_stream("Invoice-2", &[InvoiceEvent::Created {}])?;
    insert(&mut client, "Invoice-3")?;
    insert(&mut client, "Order")?;
    assert!(noted(&mut client)?.is_empty());

    let missed = stranger.append_to_stream("Order-2", &[OrderEvent::Created {}])?;
    insert(&mut client, "Order-3")?;
    // It runs nothing now, and what it passes by is still no event of another category.
    store.append_to_stream("Invoice-4", &[InvoiceEvent::Created {}])?;
    let first = i64::try_from(missed.last_global_position)?;
    assert_eq!(noted(&mut client)?, [first, first + 1]);
    let status = store.registered_projections()?[0].status;
    assert_eq!(status, ProjectionStatus::Following);

    following.rollback()?;
    wait_until_active(&store);
    let documents = store
        .collection::<Value>("orders")
        .find(json!({}))
        .to_vec()?;
    let counts = documents
        .iter()
        .map(|order| (order["_id"].as_str(), order["count"].as_u64()));
    let expected = ["Order-1", "Order-2", "Order-3"].map(|id| (Some(id), Some(1)));
    assert_eq!(counts.collect::<Vec<_>>(), expected);
    Ok(())
}

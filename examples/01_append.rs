//! Appends to a stream, loses a race for its next version, and reads the stream back.
//!
//! `cargo run --example 01_append`

use emmett_postgresql::{AppendOptions, Error, Event, EventStore, testing};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
enum CartEvent {
    ItemAdded { product: String, quantity: u32 },
    Confirmed,
}
impl Event for CartEvent {}

fn item(product: &str, quantity: u32) -> CartEvent {
    let product = product.to_owned();
    CartEvent::ItemAdded { product, quantity }
}

fn main() -> anyhow::Result<()> {
    let database = testing::database()?;
    let store = EventStore::open(database.url())?;

    let appended = store.append_to_stream("Cart-1", &[item("shoes", 2)])?;
    let seen = appended.next_expected_version;
    println!("appended: Cart-1 is at version {seen}");

    // Two clients have read version 1. One of them is faster.
    let unchanged = || AppendOptions::new().expected_version(seen);
    store.append_to_stream_with("Cart-1", &[item("shirt", 1)], unchanged())?;
    match store.append_to_stream_with("Cart-1", &[CartEvent::Confirmed], unchanged()) {
        Err(Error::Conflict { actual, .. }) => println!("conflict: it is at version {actual}"),
        other => anyhow::bail!("expected a conflict, got {other:?}"),
    }

    for recorded in store.read_stream::<CartEvent>("Cart-1")?.events {
        println!("read: {} {:?}", recorded.stream_position, recorded.event);
    }
    let items = store.aggregate_stream(
        "Cart-1",
        || 0,
        |items, event| match event {
            CartEvent::ItemAdded { quantity, .. } => items + quantity,
            CartEvent::Confirmed => items,
        },
    )?;
    println!("aggregated: {} items", items.state);
    println!("next: cargo run --example 02_read_model");
    Ok(())
}

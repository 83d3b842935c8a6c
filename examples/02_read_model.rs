//! Keeps a read model, one document per cart, in the transaction of each append. Its specification needs no database.
//!
//! `cargo run --example 02_read_model`

use emmett_postgresql::testing::{self, ProjectionSpec};
use emmett_postgresql::{DocumentProjection, Event, EventStore, Recorded};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Serialize, Deserialize)]
enum CartEvent {
    ItemAdded { price: u32 },
    Cancelled,
}
impl Event for CartEvent {}

#[derive(Serialize, Deserialize, Default)]
struct Cart {
    #[serde(rename = "_id")]
    id: String,
    items: u32,
    total: u32,
}

/// Returns the document after an event; `None` deletes it.
fn evolve(cart: Option<Cart>, recorded: &Recorded<CartEvent>) -> Option<Cart> {
    let CartEvent::ItemAdded { price } = recorded.event else {
        return None;
    };
    let mut cart = cart.unwrap_or_default();
    cart.items += 1;
    cart.total += price;
    Some(cart)
}

fn carts() -> DocumentProjection<Cart> {
    DocumentProjection::single_stream("carts", evolve)
}

fn main() -> anyhow::Result<()> {
    let item = |price| CartEvent::ItemAdded { price };
    ProjectionSpec::of(carts())
        .given("Cart-1", [item(120)])
        .when("Cart-1", [item(5)])
        .document("Cart-1", json!({"items": 2, "total": 125}));
    println!("specified: a cart counts its items");

    let database = testing::database()?;
    let store = EventStore::builder(database.url())
        .inline_projection(carts())
        .open()?;

    store.append_to_stream("Cart-1", &[item(120)])?;
    store.append_to_stream("Cart-2", &[item(30), item(5)])?;
    store.append_to_stream("Cart-3", &[item(7), CartEvent::Cancelled])?;

    let carts = store.collection::<Cart>("carts");
    for cart in carts.find(json!({})).sort(json!({"total": -1})).to_vec()? {
        println!("{}: {} items for {}", cart.id, cart.items, cart.total);
    }
    let large = carts.count_documents(json!({"total": {"$gte": 100}}))?;
    println!("large carts: {large}");
    println!("next: cargo run --example 03_consumer");
    Ok(())
}

//! Gives each tenant tables of its own, and serves all tenants with one consumer.
//!
//! `cargo run --example 06_tenants`

use emmett_postgresql::{Event, EventStore, Reactor, Recorded, testing};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
enum OrderEvent {
    Placed { product: String },
}
impl Event for OrderEvent {}

fn main() -> anyhow::Result<()> {
    let database = testing::database()?;
    let store = EventStore::open(database.url())?;
    for tenant in ["acme", "globex"] {
        store.tenants().add(tenant)?;
    }

    let ship = Reactor::new("shipping").each(|recorded: &Recorded<OrderEvent>, _context| {
        let OrderEvent::Placed { product } = &recorded.event;
        println!("ship {product}");
        Ok(())
    });
    let consumer = store
        .consumer()
        .reactor(ship)
        .for_all_tenants()
        .threads(2)
        .start()?;

    // The same stream name in both: nothing is shared.
    for (tenant, product) in [("acme", "anvil"), ("globex", "globe")] {
        let store = store.tenant(tenant)?;
        let product = product.to_owned();
        let appended = store.append_to_stream("Order-1", &[OrderEvent::Placed { product }])?;
        store.wait_for(
            "shipping",
            appended.last_global_position,
            Duration::from_secs(60),
        )?;
    }
    consumer.stop()?;

    println!("in the store itself: {}", store.stream_exists("Order-1")?);
    let removal = store.tenants().remove("globex")?;
    println!("globex leaves with {} message", removal.messages);
    removal.with_all_data()?;
    let left = store.tenants().list()?;
    println!(
        "left: {:?}",
        left.iter().map(|tenant| &tenant.name).collect::<Vec<_>>()
    );
    println!("next: cargo run --example 07_operate");
    Ok(())
}

//! The shop's first day: append, read, aggregate, sessions, and two read models that are never behind.
//!
//! `cargo run --example shopping_cart`: on a throwaway PostgreSQL, or on the server that `EMMETT_TEST_DATABASE_URL` names.

use emmett_postgresql::{
    AppendOptions, ConnectionOptions, DocumentProjection, Error, Event, EventStore, NewMessage,
    Recorded, testing::Server,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{slice, time::Duration};

#[derive(Serialize, Deserialize, Clone)]
#[serde(rename_all_fields = "camelCase")]
enum ShoppingCartEvent {
    ProductItemAdded {
        product_id: String,
        quantity: u32,
        price: f64,
    },
    ProductItemRemoved {
        product_id: String,
        quantity: u32,
        price: f64,
    },
    ShoppingCartConfirmed {
        client_id: String,
        total_amount: f64,
    },
}

impl Event for ShoppingCartEvent {}

use ShoppingCartEvent::{ProductItemAdded, ProductItemRemoved, ShoppingCartConfirmed};

/// State of a cart, folded from its events.
#[derive(Default, Debug)]
struct ShoppingCart {
    items: Vec<(String, u32)>,
    confirmed: bool,
}

impl ShoppingCart {
    fn evolve(mut self, event: ShoppingCartEvent) -> Self {
        match event {
            ProductItemAdded {
                product_id,
                quantity,
                ..
            } => self.items.push((product_id, quantity)),
            ProductItemRemoved { product_id, .. } => self.items.retain(|(id, _)| *id != product_id),
            ShoppingCartConfirmed { .. } => self.confirmed = true,
        }
        self
    }
}

/// One document per cart.
#[derive(Serialize, Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
struct CartSummary {
    #[serde(rename = "_id")]
    id: String,
    total_items: u32,
    total_amount: f64,
}

fn cart_summaries() -> DocumentProjection<CartSummary> {
    DocumentProjection::single_stream(
        "cart_summaries",
        |cart: Option<CartSummary>, recorded: &Recorded<_>| {
            let mut cart = cart.unwrap_or_default();
            match &recorded.event {
                ProductItemAdded {
                    quantity, price, ..
                } => {
                    cart.total_items += quantity;
                    cart.total_amount += price * f64::from(*quantity);
                }
                ProductItemRemoved {
                    quantity, price, ..
                } => {
                    cart.total_items -= quantity;
                    cart.total_amount -= price * f64::from(*quantity);
                }
                ShoppingCartConfirmed { .. } => {}
            }
            Some(cart)
        },
    )
    .can_handle(&["ProductItemAdded", "ProductItemRemoved"])
}

/// One document per client, from the events of many carts.
#[derive(Serialize, Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
struct ClientSummary {
    total_orders: u32,
    total_spent: f64,
}

fn client_summaries() -> DocumentProjection<ClientSummary> {
    DocumentProjection::multi_stream(
        "client_summaries",
        |recorded: &Recorded<_>| match &recorded.event {
            ShoppingCartConfirmed { client_id, .. } => Some(client_id.clone()),
            _ => None,
        },
        |client: Option<ClientSummary>, recorded| {
            let mut client = client.unwrap_or_default();
            if let ShoppingCartConfirmed { total_amount, .. } = &recorded.event {
                client.total_orders += 1;
                client.total_spent += total_amount;
            }
            Some(client)
        },
    )
}

fn main() -> anyhow::Result<()> {
    let database = Server::shared()?.create_database()?;
    let store = EventStore::builder(database.url())
        .inline_projection(cart_summaries())
        .inline_projection(client_summaries())
        .connection_options(
            ConnectionOptions::new()
                .pool_size(20)
                .idle_timeout(Duration::from_secs(30)),
        )
        .open()?;

    let shoes = ProductItemAdded {
        product_id: "shoes-1".into(),
        quantity: 2,
        price: 99.99,
    };
    let shirt = ProductItemAdded {
        product_id: "shirt-7".into(),
        quantity: 1,
        price: 1_250.0,
    };
    let appended = store.append_to_stream("ShoppingCart-123", &[shoes.clone(), shirt.clone()])?;
    println!(
        "appended: the stream is at version {}",
        appended.next_expected_version
    );
    assert_eq!(appended.next_expected_version, 2);

    let confirmed = ShoppingCartConfirmed {
        client_id: "anna".into(),
        total_amount: 1_449.98,
    };
    let message = NewMessage::new(confirmed.clone()).metadata("clientId", "anna");
    store.append_to_stream_with(
        "ShoppingCart-123",
        &[message],
        AppendOptions::new().expected_version(2),
    )?;
    match store.append_to_stream_with(
        "ShoppingCart-123",
        &[confirmed],
        AppendOptions::new().expected_version(2),
    ) {
        Err(Error::Conflict { actual, .. }) => {
            println!("conflict: somebody was faster, it is at version {actual}");
        }
        other => anyhow::bail!("expected a conflict, got {other:?}"),
    }

    let stream = store.read_stream::<ShoppingCartEvent>("ShoppingCart-123")?;
    for recorded in &stream.events {
        println!(
            "read: {} {}",
            recorded.stream_position, recorded.message_type
        );
    }
    let cart = store.aggregate_stream(
        "ShoppingCart-123",
        ShoppingCart::default,
        ShoppingCart::evolve,
    )?;
    println!(
        "aggregated: {:?} at version {}",
        cart.state, cart.current_version
    );
    assert!(cart.state.confirmed);

    store.with_session(|session| {
        session.append_to_stream("ShoppingCart-1", &[shoes.clone(), shirt.clone()])?;
        session.append_to_stream("ShoppingCart-2", slice::from_ref(&shoes))?;
        Ok(())
    })?;
    let failed = store.with_session(|session| {
        session.append_to_stream("ShoppingCart-3", slice::from_ref(&shoes))?;
        anyhow::bail!("the shop is closed");
        #[expect(unreachable_code, reason = "the closure's type")]
        Ok(())
    });
    println!(
        "session: {:#}",
        anyhow::Error::from(failed.expect_err("the closure fails"))
    );
    assert!(!store.stream_exists("ShoppingCart-3")?);

    let carts = store.collection::<CartSummary>("cart_summaries");
    let cart = carts.find_one(json!({"_id": "ShoppingCart-123"}))?;
    println!("read model: {cart:?}");
    let large = carts
        .find(json!({"totalAmount": {"$gte": 1000}}))
        .sort(json!({"totalAmount": -1}))
        .limit(10)
        .to_vec()?;
    println!(
        "large carts: {:?}",
        large.iter().map(|cart| &cart.id).collect::<Vec<_>>()
    );
    assert_eq!(large.len(), 2);
    let clients = store.collection::<ClientSummary>("client_summaries");
    println!("client: {:?}", clients.find_one(json!({"_id": "anna"}))?);
    say_what_is_next();
    Ok(())
}

fn say_what_is_next() {
    println!(
        "
next:
  examples/shopping_cart.rs is the program that you have just seen
  README.md, \"Use it\", has a smaller one for a crate of yours
  cargo run --example 01_append      eleven steps of one idea each, from here to 11_http
  cargo run --example hotel          a whole application, told in docs/learn/hotel.md
  cargo run --example event_log      import a log of yours, and read it
  cargo run --example pongo          documents without events
  cargo doc --all-features --open    everything else"
    );
}

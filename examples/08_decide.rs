//! Decides on a cart: specifications first, then with the store, against a rival, and once under a key.
//!
//! `cargo run --example 08_decide`

use emmett_postgresql::decide::{DecideError, Evolve, stream};
use emmett_postgresql::testing::{self, given};
use emmett_postgresql::{Event, EventStore};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum CartEvent {
    ItemAdded { quantity: u32 },
    Confirmed,
}
impl Event for CartEvent {}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the cart is empty")]
struct Empty;

#[derive(Default)]
struct Cart {
    items: u32,
    is_confirmed: bool,
}

impl Evolve for Cart {
    type Event = CartEvent;

    fn evolve(&mut self, event: &CartEvent) {
        match event {
            CartEvent::ItemAdded { quantity } => self.items += quantity,
            CartEvent::Confirmed => self.is_confirmed = true,
        }
    }
}

impl Cart {
    fn confirm(&self) -> Result<Option<CartEvent>, Empty> {
        match (self.items, self.is_confirmed) {
            (0, _) => Err(Empty),
            (_, true) => Ok(None),
            (_, false) => Ok(Some(CartEvent::Confirmed)),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let item = || CartEvent::ItemAdded { quantity: 2 };
    given::<Cart>([]).when(Cart::confirm).refused(&Empty);
    given::<Cart>([item()])
        .when(Cart::confirm)
        .then([CartEvent::Confirmed]);
    println!("specified: an empty cart is not confirmed");

    let database = testing::database()?;
    let store = EventStore::open(database.url())?;
    match store.decide(stream::<Cart>("Cart-1")).run(Cart::confirm) {
        Err(DecideError::Refused(refusal)) => println!("refused: {refusal}"),
        _ => anyhow::bail!("an empty cart was confirmed"),
    }

    store.append_to_stream("Cart-1", &[item()])?;
    let confirm = || {
        let cart = store.decide(stream::<Cart>("Cart-1"));
        cart.retries(5).key("confirm-1").run(Cart::confirm)
    };
    let (first, repeated) = (confirm()?, confirm()?);
    println!("confirmed: Cart-1 is at version {}", first.version);
    println!("repeated: decided before: {}", repeated.was_decided_before);
    println!("next: cargo run --example 09_workflow");
    Ok(())
}

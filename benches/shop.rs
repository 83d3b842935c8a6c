//! The data of both sides: carts, their events, and a read model of them.

use crate::harness::hash;
use emmett_postgresql::{DocumentProjection, Event, Recorded};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Clone)]
pub(crate) enum CartEvent {
    ProductItemAdded(ProductItem),
    Confirmed { client_id: String },
}

impl Event for CartEvent {}

/// About a hundred bytes of JSON.
#[derive(Debug, Serialize, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProductItem {
    product_id: String,
    quantity: u32,
    price: f64,
    note: String,
}

pub(crate) fn items(count: usize) -> Vec<ProductItem> {
    let item = |number| ProductItem {
        product_id: format!("shoes-{number}"),
        quantity: 2,
        price: 99.99,
        note: "wrap it as a present, please".to_owned(),
    };
    (0..count).map(item).collect()
}

pub(crate) fn events(count: usize) -> Vec<CartEvent> {
    items(count)
        .into_iter()
        .map(CartEvent::ProductItemAdded)
        .collect()
}

pub(crate) const CART_SUMMARIES: &str = "cart_summaries";

#[derive(Debug, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CartSummary {
    #[serde(rename = "_id")]
    id: String,
    total_items: u32,
    total_amount: f64,
}

impl CartSummary {
    pub(crate) fn add(cart: Option<Self>, id: &str, item: &ProductItem) -> Self {
        let mut cart = cart.unwrap_or_else(|| Self {
            id: id.to_owned(),
            ..Self::default()
        });
        cart.total_items += item.quantity;
        cart.total_amount += item.price * f64::from(item.quantity);
        cart
    }
}

pub(crate) fn cart_summaries() -> DocumentProjection<CartSummary> {
    DocumentProjection::single_stream(
        CART_SUMMARIES,
        |cart: Option<CartSummary>, recorded: &Recorded<CartEvent>| match &recorded.event {
            CartEvent::ProductItemAdded(item) => {
                Some(CartSummary::add(cart, &recorded.stream_name, item))
            }
            CartEvent::Confirmed { .. } => cart,
        },
    )
}

/// The streams that one thread appends to: every tenth append, on average, begins another one.
pub(crate) struct Streams {
    random: Random,
    names: Vec<String>,
}

impl Streams {
    pub(crate) fn new(seed: u64, thread: usize) -> Self {
        Self {
            random: Random(hash((seed, thread))),
            names: Vec::new(),
        }
    }

    /// The stream of the next append.
    pub(crate) fn next(&mut self) -> &str {
        if self.names.is_empty() || self.random.below(10) == 0 {
            let name = format!("ShoppingCart-{:016x}", self.random.next());
            self.names.push(name);
        }
        &self.names[self.random.below(self.names.len())]
    }
}

/// The generator `SplitMix64`.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = limit as u64;
        usize::try_from(self.next() % limit).expect("the limit was a usize")
    }
}

//! The command `emmett` with a projection of its own, whose documents have an index: it can import into a store that keeps
//! it, rebuild it, and migrate what it declares.
//!
//! `cargo run --features cli --example own_command -- projections rebuild cart_sizes`, on the server that `EMMETT_DATABASE_URL` names.

use emmett_postgresql::pongo::{CollectionDefinition, Index};
use emmett_postgresql::{DocumentProjection, RawEvent, Recorded, cli};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

#[derive(Serialize, Deserialize, Default)]
struct CartSize {
    events: u64,
}

fn cart_sizes() -> DocumentProjection<CartSize> {
    DocumentProjection::single_stream(
        "cart_sizes",
        |cart: Option<CartSize>, _: &Recorded<RawEvent>| {
            let events = cart.unwrap_or_default().events + 1;
            Some(CartSize { events })
        },
    )
}

fn main() -> ExitCode {
    let documents = CollectionDefinition::new("cart_sizes").index(Index::field("events"));
    cli::run(|builder| {
        builder
            .inline_projection(cart_sizes())
            .collection(documents)
    })
}

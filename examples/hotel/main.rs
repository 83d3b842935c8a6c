//! A chain of two hotels: one whole application, told as a story.
//!
//! ```sh
//! cargo run --example hotel                  # on a throwaway PostgreSQL
//! cargo run --example hotel -- URL           # on a database that is kept, again and again
//! cargo run --example hotel -- audit URL     # the night audit alone, as cron would run it
//! ```
//!
//! `docs/learn/hotel.md` tells it part by part.

mod answer;
mod booking;
mod erasure;
mod front;
mod mails;
mod night_audit;
mod old_program;
mod payment;
mod post_office;
mod read_models;
mod reception;
mod refusal;
mod room;
mod story;
#[cfg(test)]
mod tests;
mod visitor;

use emmett_postgresql::consumer::TenantsConsumer;
use emmett_postgresql::{EventStore, testing};
use mails::Letter;

pub(crate) const HOTELS: [&str; 2] = ["alpenhof", "seeblick"];

/// Opens the store. Read models that are new are built of the events that are there.
pub(crate) fn open(url: &str) -> anyhow::Result<EventStore> {
    let store = EventStore::builder(url)
        .inline_projection(read_models::bookings())
        .inline_projection(read_models::rooms())
        .open()?;
    Ok(store)
}

/// One consumer for all hotels.
pub(crate) fn start(
    store: &EventStore,
    post: impl Fn(Letter) -> anyhow::Result<()> + Send + Sync + 'static,
) -> anyhow::Result<TenantsConsumer> {
    let consumer = store
        .consumer()
        .projector(read_models::guests())
        .workflow(payment::payment())
        .reactor(payment::expiries())
        .reactor(mails::mails(post))
        .for_all_tenants()
        .threads(2)
        .start()?;
    Ok(consumer)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => story::tell(testing::database()?.url()),
        ["audit", url] => story::audit(&open(url)?),
        [url] if url.contains(['/', '=']) => story::tell(url),
        _ => anyhow::bail!("usage: hotel [[audit] URL]"),
    }
}

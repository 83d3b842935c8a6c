//! The cost of the store, as a ratio to the same storage work in hand-written SQL. See README.md beside this file.
//!
//! `cargo bench`, or `cargo bench -- [--quick] [--large] [--rounds N] [--seconds S] [part of a name ...]`

mod append;
mod appender;
mod consume;
mod decide;
mod documents;
mod harness;
mod import;
mod import_log;
mod large;
mod notify;
mod plain;
mod plain_copier;
mod read;
mod shop;
mod specifications;
mod timers;

use anyhow::Result;
use emmett_postgresql::EventStore;
use emmett_postgresql::testing::{Database, Server};
use harness::Harness;

fn main() -> Result<()> {
    let harness = Harness::from_arguments(std::env::args().skip(1))?;
    // Commits wait for the disk. A checkpoint would slow down whichever side it happens to meet.
    let server = Server::builder()
        .durable(true)
        .setting("checkpoint_timeout", "1h")
        .setting("max_wal_size", "8GB")
        .start()?;
    harness.print_header();
    append::run(&harness, &server)?;
    notify::run(&harness, &server)?;
    read::run(&harness, &server)?;
    decide::run(&harness, &server)?;
    import::run(&harness, &server)?;
    consume::run(&harness, &server)?;
    documents::run(&harness, &server)?;
    large::run(&harness, &server)?;
    timers::run(&harness, &server)?;
    specifications::run(&harness);
    Ok(())
}

/// A database with the store's tables, and beside them those of the plain side.
fn database(server: &Server) -> Result<Database> {
    let database = server.create_database()?;
    let store = EventStore::open(database.url())?;
    store
        .collection::<shop::CartSummary>(shop::CART_SUMMARIES)
        .create()?;
    plain::create_tables(&mut database.client()?)?;
    Ok(database)
}

//! Reading whole streams, and folding them into a state.

use crate::harness::Harness;
use crate::plain::PlainReader;
use crate::shop::{CartEvent, events};
use anyhow::{Result, ensure};
use emmett_postgresql::testing::Server;
use emmett_postgresql::{ConnectionOptions, EventStore};

const LENGTHS: [u64; 3] = [10, 1_000, 10_000];

pub(crate) fn run(harness: &Harness, server: &Server) -> Result<()> {
    let cases: Vec<(u64, String, String)> = LENGTHS
        .iter()
        .map(|&length| {
            (
                length,
                format!("read {length} events"),
                format!("aggregate {length} events"),
            )
        })
        .filter(|(_, read, aggregate)| harness.wants(read) || harness.wants(aggregate))
        .collect();
    if cases.is_empty() {
        return Ok(());
    }
    let database = crate::database(server)?;
    let store = EventStore::builder(database.url())
        .connection_options(ConnectionOptions::new().pool_size(1))
        .open()?;
    let mut plain = PlainReader::new(database.client()?)?;
    for (length, read, aggregate) in cases {
        let stream = format!("ShoppingCart-{length}");
        store.append_to_stream(&stream, &events(usize::try_from(length)?))?;
        plain.copy(&stream)?;
        ensure!(
            plain.read(&stream)? == length,
            "the plain side has all events"
        );
        if harness.wants(&read) {
            harness.compare(
                &read,
                |turn| turn.repeat(|| read_stream(&store, &stream)),
                |turn| turn.repeat(|| plain.read(&stream)),
            )?;
        }
        if harness.wants(&aggregate) {
            harness.compare(
                &aggregate,
                |turn| turn.repeat(|| aggregate_stream(&store, &stream)),
                |turn| turn.repeat(|| plain.read(&stream)),
            )?;
        }
    }
    Ok(())
}

fn read_stream(store: &EventStore, stream: &str) -> Result<u64> {
    let read = store.read_stream::<CartEvent>(stream)?;
    Ok(read.events.len() as u64)
}

fn aggregate_stream(store: &EventStore, stream: &str) -> Result<u64> {
    let folded = store.aggregate_stream(
        stream,
        || 0,
        |count: u64, event: CartEvent| match event {
            CartEvent::ProductItemAdded(_) => count + 1,
            CartEvent::Confirmed { .. } => count,
        },
    )?;
    Ok(folded.state)
}

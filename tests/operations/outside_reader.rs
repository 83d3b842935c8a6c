//! A reader that keeps its position and the store's epoch outside the database, and the expected read models.

use crate::consumer::fixtures::counted;
use crate::support::CartEvent;
use emmett_postgresql::{EventStore, FeedOptions, RawEvent, Result};
use std::collections::BTreeMap;

/// What it has seen survives the database.
#[derive(Default)]
pub(super) struct OutsideReader {
    pub(super) position: u64,
    pub(super) epoch: u64,
    pub(super) seen: Vec<u64>,
}

impl OutsideReader {
    /// Reads on, and returns how many messages there were.
    pub(super) fn read(&mut self, store: &EventStore) -> Result<usize> {
        let options = FeedOptions::new().after(self.position).epoch(self.epoch);
        let mut feed = store.read_all::<RawEvent>(options);
        let read = feed.by_ref().collect::<Result<Vec<_>>>()?;
        self.position = feed.position();
        self.seen
            .extend(read.iter().map(|message| message.global_position));
        Ok(read.len())
    }

    /// Goes back to a position, in the store's epoch.
    pub(super) fn begin_again(&mut self, store: &EventStore, position: u64) -> Result<()> {
        self.epoch = store.epoch()?;
        self.position = position;
        self.seen.retain(|seen| *seen <= position);
        Ok(())
    }
}

/// The positions of the feed.
pub(super) fn positions(store: &EventStore) -> Result<Vec<u64>> {
    let feed = store.read_all::<RawEvent>(FeedOptions::new());
    feed.map(|message| Ok(message?.global_position)).collect()
}

/// Each document of these projections, which count the events of a stream, equals a fold over the feed.
pub(super) fn assert_counted(store: &EventStore, projections: &[&str]) -> anyhow::Result<()> {
    let mut folded = BTreeMap::<String, u64>::new();
    for recorded in store.read_all::<CartEvent>(FeedOptions::new()) {
        *folded.entry(recorded?.stream_name.to_string()).or_default() += 1;
    }
    for (projection, (stream, events)) in projections
        .iter()
        .flat_map(|projection| folded.iter().map(move |counted| (projection, counted)))
    {
        let document = counted(store, projection, stream)?;
        let found = document.map(|document| document.events);
        anyhow::ensure!(
            found == Some(*events),
            "{projection} of {stream}: {found:?}, the feed says {events}"
        );
    }
    Ok(())
}

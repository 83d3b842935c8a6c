//! A batch of lines about streams: which are archived, and their metadata.

use super::line::StreamEntry;
use crate::database::{Jsonb, Sql};
use crate::error::{Error, EventLogError, Result};
use crate::events::{Partition, stream_states};
use std::collections::BTreeMap;

/// What lines say about a stream.
struct State {
    /// The first line that says something.
    line: u64,
    archived: Option<bool>,
    metadata: Option<Vec<u8>>,
}

/// Lines about streams. Of several about one stream, the last counts.
#[derive(Default)]
pub(super) struct StreamBatch {
    states: BTreeMap<String, State>,
    lines: usize,
}

impl StreamBatch {
    pub(super) fn add(&mut self, line: u64, entry: StreamEntry) {
        self.lines += 1;
        let state = self.states.entry(entry.stream_name).or_insert(State {
            line,
            archived: None,
            metadata: None,
        });
        state.archived = entry.archived.or(state.archived);
        state.metadata = entry.metadata.or_else(|| state.metadata.take());
    }

    /// How many lines it has.
    pub(super) fn len(&self) -> usize {
        self.lines
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Replaces the metadata of the streams and moves them to the archive or back, after their rows were locked in the order
    /// of the names.
    pub(super) fn store(&self, sql: &mut dyn Sql, partition: &Partition) -> Result<()> {
        if self.lines == 0 {
            return Ok(());
        }
        let names: Vec<&str> = self.states.keys().map(String::as_str).collect();
        let found = stream_states::lock(sql, partition, &names)?;
        self.refuse_missing(&found)?;
        let metadata = self.states.iter().filter_map(|(name, state)| {
            let metadata = state.metadata.as_deref()?;
            Some((name.as_str(), Jsonb(metadata)))
        });
        let (streams, metadata): (Vec<_>, Vec<_>) = metadata.unzip();
        if !streams.is_empty() {
            stream_states::set_metadata(sql, partition, &streams, &metadata)?;
        }
        for to_archive in [false, true] {
            let moved = self.states.iter().filter(|(name, state)| {
                state.archived == Some(to_archive) && found.get(*name) == Some(&!to_archive)
            });
            let moved: Vec<&str> = moved.map(|(name, _)| name.as_str()).collect();
            if !moved.is_empty() {
                stream_states::move_all(sql, partition, &moved, to_archive)?;
            }
        }
        Ok(())
    }

    fn refuse_missing(&self, found: &BTreeMap<String, bool>) -> Result<()> {
        let missing = self
            .states
            .iter()
            .filter(|(name, _)| !found.contains_key(*name))
            .min_by_key(|(_, state)| state.line);
        let Some((name, state)) = missing else {
            return Ok(());
        };
        Err(Error::EventLog(EventLogError::Line {
            line: state.line,
            reason: format!(
                "there is no stream \"{name}\": a line about a stream comes after the first message of the stream"
            ),
        }))
    }
}

//! A batch of messages: the order of locks that the feed relies on, and what every append does beside it.

use super::line::MessageEntry;
use super::recorded_at::check_past;
use crate::database::Sql;
use crate::database::position::from_sql;
use crate::error::{Error, EventLogError, Result};
use crate::events::{Partition, RecordedMessage, bulk};
use crate::projection::{missed, registry};
use crate::store::EventStore;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A message and the number of its line.
pub(super) struct BatchLine {
    pub(super) number: u64,
    pub(super) entry: MessageEntry,
}

impl BatchLine {
    fn fault(&self, reason: String) -> Error {
        Error::EventLog(EventLogError::Line {
            line: self.number,
            reason,
        })
    }
}

/// Stores the messages of a batch, and runs the inline projections with them.
pub(super) fn store(sql: &mut dyn Sql, store: &EventStore, batch: &mut [BatchLine]) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let (partition, projections) = (store.partition(), store.projections());
    if !projections.is_empty() {
        registry::share(sql, partition)?;
    }
    place(sql, partition, batch)?;
    let messages: Vec<&RecordedMessage> = batch.iter().map(|line| &line.entry.message).collect();
    bulk::copy(sql, partition, messages.iter().copied())?;
    let given: Vec<&RecordedMessage> = batch
        .iter()
        .filter(|line| line.entry.has_own_id)
        .map(|line| &line.entry.message)
        .collect();
    bulk::note_ids(sql, partition, &given)?;
    // After the streams' rows were locked, as every append looks.
    let run = missed::note(sql, partition, projections.versions(), &messages)?;
    projections.handle(sql, partition, |name| {
        if run.iter().any(|other| other == name) {
            messages.clone()
        } else {
            Vec::new()
        }
    })
}

/// Takes the fence, then the stream rows, then the positions: the order that the feed relies on.
fn place(sql: &mut dyn Sql, partition: &Partition, batch: &mut [BatchLine]) -> Result<()> {
    let now = bulk::fence(sql, partition)?;
    let mut next = advance_streams(sql, partition, batch)?;
    let positions = bulk::draw_positions(sql, partition, batch.len())?;
    for (line, position) in batch.iter_mut().zip(positions) {
        let MessageEntry {
            expected_position,
            has_own_time,
            message,
            ..
        } = &mut line.entry;
        let Some(version) = next.get_mut(&*message.stream_name) else {
            continue;
        };
        message.stream_position = *version;
        message.global_position = from_sql(position)?;
        *version += 1;
        if !*has_own_time {
            message.recorded_at = now;
        }
        check_past(message.recorded_at, now)
            .and_then(|()| check_position(*expected_position, message))
            .map_err(|reason| line.fault(reason))?;
    }
    Ok(())
}

fn check_position(expected: Option<u64>, message: &RecordedMessage) -> Result<(), String> {
    match expected {
        Some(expected) if expected != message.stream_position => Err(format!(
            "streamPosition is {expected}, but the next message of stream \"{}\" is number {}",
            message.stream_name, message.stream_position
        )),
        _ => Ok(()),
    }
}

/// Advances the rows of all streams of a batch, and returns the version of the first new message of each.
fn advance_streams(
    sql: &mut dyn Sql,
    partition: &Partition,
    batch: &[BatchLine],
) -> Result<HashMap<Arc<str>, u64>> {
    let mut counts: BTreeMap<&Arc<str>, i64> = BTreeMap::new();
    for line in batch {
        *counts.entry(&line.entry.message.stream_name).or_default() += 1;
    }
    let versions = bulk::advance_streams(sql, partition, &counts)?;
    let mut next = HashMap::with_capacity(versions.len());
    let mut begun = Vec::new();
    for (name, version) in versions {
        let count = counts.get(&name).copied().map_or(Ok(0), from_sql)?;
        if version == count {
            begun.push(Arc::clone(&name));
        }
        next.insert(name, version - count + 1);
    }
    refuse_archived(sql, partition, batch, &begun)?;
    Ok(next)
}

/// A stream that seems new may be an archived one.
fn refuse_archived(
    sql: &mut dyn Sql,
    partition: &Partition,
    batch: &[BatchLine],
    begun: &[Arc<str>],
) -> Result<()> {
    let Some(archived) = bulk::find_archived(sql, partition, begun)? else {
        return Ok(());
    };
    let line = batch
        .iter()
        .find(|line| *line.entry.message.stream_name == *archived);
    let reason = format!(
        "stream \"{archived}\" is archived here: bring it back first, with \"archived\": false in a line about it or \
         `EventStore::unarchive_stream`, and import the log again"
    );
    match line {
        Some(line) => Err(line.fault(reason)),
        None => Err(Error::schema(reason)),
    }
}

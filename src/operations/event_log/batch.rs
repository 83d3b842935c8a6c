//! Placing a batch of lines: the order of locks that the feed relies on.

use crate::database::Sql;
use crate::database::position::from_sql;
use crate::error::{Error, EventLogError, Result};
use crate::events::{Partition, RecordedMessage, bulk};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A checked line.
pub(super) struct BatchLine {
    pub(super) number: u64,
    pub(super) expected_position: Option<u64>,
    /// Whether the line has the message's id.
    pub(super) has_own_id: bool,
    pub(super) message: RecordedMessage,
}

/// Takes the fence, then the stream rows, then the positions: the order that the feed relies on.
pub(super) fn place(
    sql: &mut dyn Sql,
    partition: &Partition,
    batch: &mut [BatchLine],
) -> Result<()> {
    let recorded_at = bulk::fence(sql, partition)?;
    let mut next = advance_streams(sql, partition, batch)?;
    let positions = bulk::draw_positions(sql, partition, batch.len())?;
    for (line, position) in batch.iter_mut().zip(positions) {
        let Some(version) = next.get_mut(&*line.message.stream_name) else {
            continue;
        };
        line.message.stream_position = *version;
        line.message.global_position = from_sql(position)?;
        line.message.recorded_at = recorded_at;
        *version += 1;
        if line
            .expected_position
            .is_some_and(|expected| expected != line.message.stream_position)
        {
            return Err(Error::EventLog(EventLogError::Line {
                line: line.number,
                reason: format!(
                    "streamPosition is {}, but the next message of stream \"{}\" is number {}",
                    line.expected_position.unwrap_or_default(),
                    line.message.stream_name,
                    line.message.stream_position
                ),
            }));
        }
    }
    Ok(())
}

/// Advances the rows of all streams of a batch, and returns the version of the first new message of each.
fn advance_streams(
    sql: &mut dyn Sql,
    partition: &Partition,
    batch: &[BatchLine],
) -> Result<HashMap<Arc<str>, u64>> {
    let mut counts: BTreeMap<&Arc<str>, i64> = BTreeMap::new();
    for line in batch {
        *counts.entry(&line.message.stream_name).or_default() += 1;
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
        .find(|line| *line.message.stream_name == *archived);
    Err(Error::EventLog(EventLogError::Line {
        line: line.map_or(0, |line| line.number),
        reason: format!("stream \"{archived}\" is archived"),
    }))
}

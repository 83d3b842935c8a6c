//! Checks of the catalog objects that the feed and appends rely on.

use super::finding::{Finding, FindingKind, Severity};
use crate::database::{DatabaseError, Sql};
use crate::error::Result;
use crate::events::{Partition, PartitionSql, SequenceSettings, feed, integrity};

const POSITIONS: PartitionSql = PartitionSql::new("{schema}.emt_global_message_position");
const NEXT_POSITION: PartitionSql = PartitionSql::new("{schema}.emt_position_next()");
const SECOND_STREAM_INDEX: PartitionSql = PartitionSql::new("{schema}.idx_streams_unique");

pub(super) fn examine(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    findings.extend(lagging_sequence(sql, partition)?);
    findings.extend(sequence_settings(sql, partition)?);
    findings.extend(position_default(sql, partition)?);
    findings.extend(indexes(sql, partition)?);
    // For a stream in both tables, it is unknown which row is correct.
    match streams_twice(sql, partition)? {
        Some(finding) => findings.push(finding),
        None => findings.extend(uneven_streams(sql, partition)?),
    }
    Ok(findings)
}

/// Reads the table before the sequence, so that a concurrent append does not look like a fault.
fn lagging_sequence(sql: &mut dyn Sql, partition: &Partition) -> Result<Option<Finding>> {
    let highest = integrity::highest_position(sql, partition)?;
    let last = feed::head(sql, partition)?;
    let problem = if highest <= last {
        match partition.verification().run(sql) {
            Ok(()) => return Ok(None),
            Err(DatabaseError::Inconsistent { message }) => {
                format!("Appends are refused: {message}.")
            }
            Err(error) => return Err(error.into()),
        }
    } else {
        format!(
            "The sequence of the positions is at {last}, but there is a message at {highest}: appends are refused, because \
             they would draw positions again and readers would skip events."
        )
    };
    Ok(Some(Finding::new(
        FindingKind::SequenceBehind,
        Severity::Serious,
        problem,
        "Was the database restored, or is it a logical replica? Stop all writers, then run `emmett repair sequence`.",
    )))
}

fn sequence_settings(sql: &mut dyn Sql, partition: &Partition) -> Result<Option<Finding>> {
    let Some(settings) = integrity::unsafe_sequence(sql, partition)? else {
        return Ok(None);
    };
    let SequenceSettings {
        cache,
        increment,
        cycles,
    } = settings;
    let cycle = if cycles { "CYCLE" } else { "NO CYCLE" };
    let sequence = partition.sql(POSITIONS);
    Ok(Some(Finding::new(
        FindingKind::SequenceSettings,
        Severity::Serious,
        format!(
            "The sequence of the positions has CACHE {cache} INCREMENT {increment} {cycle}: the feed may lose messages."
        ),
        format!("ALTER SEQUENCE {sequence} CACHE 1 INCREMENT 1 NO CYCLE"),
    )))
}

fn position_default(sql: &mut dyn Sql, partition: &Partition) -> Result<Option<Finding>> {
    let tables = integrity::unfenced_tables(sql, partition)?;
    let Some(first) = tables.first() else {
        return Ok(None);
    };
    let default = partition.sql(NEXT_POSITION);
    Ok(Some(Finding::new(
        FindingKind::PositionDefault,
        Severity::Serious,
        format!(
            "The column global_position of {} does not draw its positions through the fence: the feed may lose \
             messages that other programs insert there.",
            tables.join(", ")
        ),
        format!(
            "ALTER TABLE {first} ALTER COLUMN global_position SET DEFAULT {default}, \
             ALTER COLUMN global_position SET NOT NULL"
        ),
    )))
}

fn indexes(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if !integrity::has_feed_index(sql, partition)? {
        findings.push(Finding::new(
            FindingKind::FeedIndex,
            Severity::Serious,
            "The index emt_messages_feed is missing or invalid: the feed is slow, and two messages may get one position.",
            "Drop what is left of it and apply the schema again: emmett migrate sql --print | psql -v ON_ERROR_STOP=1 -1 -f -",
        ));
    }
    if integrity::has_second_stream_index(sql, partition)? {
        let index = partition.sql(SECOND_STREAM_INDEX);
        findings.push(Finding::new(
            FindingKind::SecondStreamIndex,
            Severity::Warning,
            "The index idx_streams_unique, which Emmett has created, slows appends down and is not used.",
            format!("DROP INDEX {index}"),
        ));
    }
    Ok(findings)
}

fn streams_twice(sql: &mut dyn Sql, partition: &Partition) -> Result<Option<Finding>> {
    let streams: Vec<String> = integrity::streams_twice(sql, partition)?
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    if streams.is_empty() {
        return Ok(None);
    }
    let more = if streams.len() > 3 { " and more" } else { "" };
    Ok(Some(Finding::new(
        FindingKind::StreamTwice,
        Severity::Serious,
        format!(
            "Streams that are active and archived at once: {}{more}. Each has two rows and two sets of versions.",
            streams[..streams.len().min(3)].join(", ")
        ),
        "Was one moved by hand? Keep the correct row and messages, and delete the others.",
    )))
}

/// Maximum number of streams that the doctor checks, because an operator waits for it. A proof checks all streams.
const MOST_STREAMS: i64 = 1_000_000;

/// Maximum number of streams that a finding names.
const MOST_NAMED: usize = 3;

fn uneven_streams(sql: &mut dyn Sql, partition: &Partition) -> Result<Option<Finding>> {
    let streams = integrity::some_uneven(sql, partition, MOST_STREAMS, MOST_NAMED + 1)?;
    if streams.is_empty() {
        return Ok(None);
    }
    let mut sentences: Vec<String> = streams
        .iter()
        .take(MOST_NAMED)
        .map(ToString::to_string)
        .collect();
    if streams.len() > MOST_NAMED {
        sentences.push("There are more.".to_owned());
    }
    Ok(Some(Finding::new(
        FindingKind::UnevenStream,
        Severity::Serious,
        sentences.join(" "),
        "Were messages deleted by hand, or does row level security hide them from this role? Restore them from a backup. \
         `emmett doctor --prove` lists all missing events.",
    )))
}

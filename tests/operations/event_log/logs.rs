//! Logs for the tests, and the resulting content of a store.

use emmett_postgresql::{
    Error, EventStore, FeedOptions, RawEvent, Recorded, Result,
    error::EventLogError,
    operations::{ExportOptions, ImportOptions},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Streams of all kinds, in turns that look random; every line has something that others have not.
pub(crate) fn varied_log(lines: u64) -> String {
    let mut log = String::new();
    for number in 0..lines {
        let stream = (number * 7919) % 97;
        let price = 0.1 * f64::from(u32::try_from(number).unwrap_or_default());
        let mut line = json!({
            "streamName": format!("Größe{}-'{stream}\" 😀", stream % 3),
            "type": if number % 5 == 0 { "PositionGeändert" } else { "PositionAdded" },
            "data": {
                "number": number, "price": price, "text": "tab\t\"quote\" \\ \u{1F680} \u{301}",
                "nested": { "list": [null, true, [], {}], "big": u64::MAX - number },
            },
        });
        if number % 3 == 0 {
            line["metadata"] = json!({ "user": "anna", "correlationId": format!("checkout-{number}"), "n": [1, 2] });
        }
        if number % 4 == 0 {
            line["messageId"] = json!(format!("message {number}"));
        }
        if number % 7 == 0 {
            line["kind"] = json!("command");
        }
        if number % 11 == 0 {
            line["schemaVersion"] = json!(3);
        }
        writeln!(log, "{line}").expect("a string takes everything");
    }
    log
}

/// Lines of a few streams, numbered from 1 on.
pub(crate) fn plain_log(lines: std::ops::RangeInclusive<u64>) -> String {
    let lines: Vec<String> = lines.map(plain_line).collect();
    lines.join("\n") + "\n"
}

pub(crate) fn plain_line(number: u64) -> String {
    format!(
        "{{\"streamName\":\"Case-{}\",\"type\":\"Noted\",\"data\":{{\"number\":{number}}}}}",
        number % 5
    )
}

/// The numbers of the lines in the order of the feed.
pub(crate) fn numbers(store: &EventStore) -> Result<Vec<u64>> {
    let feed = store.read_all::<RawEvent>(FeedOptions::new());
    feed.map(|recorded| Ok(recorded?.event.data["number"].as_u64().unwrap_or_default()))
        .collect()
}

/// Imports a log in batches of this size.
pub(crate) fn import(store: &EventStore, log: &str, batch_size: usize) -> Result<Outcome> {
    let options = ImportOptions::new().batch_size(batch_size);
    let report = store.import(log.as_bytes(), options)?;
    Ok(Outcome {
        lines: report.lines,
        imported: report.imported,
        skipped: report.skipped,
    })
}

#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) lines: u64,
    pub(crate) imported: u64,
    pub(crate) skipped: u64,
}

pub(crate) fn export(store: &EventStore) -> anyhow::Result<String> {
    let mut log = Vec::new();
    store.export(&mut log, ExportOptions::new())?;
    Ok(String::from_utf8(log)?)
}

/// Without what an import draws anew.
pub(crate) fn export_without_positions(store: &EventStore) -> anyhow::Result<String> {
    let mut log = Vec::new();
    store.export(&mut log, ExportOptions::new().positions(false))?;
    Ok(String::from_utf8(log)?)
}

/// Versions are 1, 2, 3 … in each stream, and rise with the positions.
pub(crate) fn assert_streams_are_whole(store: &EventStore) -> anyhow::Result<()> {
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    let mut last_position = 0;
    for recorded in store.read_all::<RawEvent>(FeedOptions::new()) {
        let recorded: Recorded<RawEvent> = recorded?;
        let version = versions
            .entry(recorded.stream_name.to_string())
            .or_default();
        *version += 1;
        assert_eq!(
            recorded.stream_position, *version,
            "{}",
            recorded.stream_name
        );
        assert!(recorded.global_position > last_position);
        last_position = recorded.global_position;
    }
    for (stream, version) in versions {
        assert_eq!(
            store.read_stream::<RawEvent>(&stream)?.current_version,
            version,
            "{stream}"
        );
    }
    Ok(())
}

/// The number and the reason of a refused line.
#[track_caller]
pub(crate) fn refused_line<T: std::fmt::Debug>(result: Result<T>) -> (u64, String) {
    match result {
        Err(Error::EventLog(EventLogError::Line { line, reason, .. })) => (line, reason),
        other => panic!("expected a refused line, got {other:?}"),
    }
}

pub(crate) fn parse(log: &str) -> serde_json::Result<Vec<Value>> {
    log.lines().map(serde_json::from_str).collect()
}

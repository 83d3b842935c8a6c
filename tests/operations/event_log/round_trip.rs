//! An export gives the imported log.

use super::logs::{Outcome, export, import, numbers, parse, plain_log, varied_log};
use crate::support::{added, store};
use emmett_postgresql::{
    Error, RawEvent,
    error::EventLogError,
    events::MessageKind,
    operations::{ExportOptions, ImportOptions, ImportProgress},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;

#[test]
fn an_exported_log_is_the_same_after_an_import_and_another_export() -> anyhow::Result<()> {
    let (_first_database, first) = store()?;
    let (_second_database, second) = store()?;
    import(&first, &varied_log(4_000), 5_000)?;

    let log = export(&first)?;
    let imported = import(&second, &log, 333)?;
    let again = export(&second)?;

    assert_eq!(
        imported,
        Outcome {
            lines: 4_000,
            imported: 4_000,
            skipped: 0
        }
    );
    assert!(log == again, "the logs differ");
    Ok(())
}

#[test]
fn an_export_says_what_the_imported_log_said() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = varied_log(1_000);
    import(&store, &log, 100)?;

    let exported = parse(&export(&store)?)?;

    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for (given, mut found) in parse(&log)?.into_iter().zip(exported) {
        let version = versions.entry(given["streamName"].to_string()).or_default();
        *version += 1;
        assert_eq!(found["streamPosition"].take(), *version);
        let id = found["messageId"].take();
        assert!(
            given.get("messageId").is_none_or(|given| *given == id),
            "{id}"
        );
        for name in [
            "streamName",
            "type",
            "data",
            "metadata",
            "kind",
            "schemaVersion",
        ] {
            assert_eq!(found.get(name), given.get(name), "{name}");
        }
    }
    Ok(())
}

#[test]
fn an_imported_message_is_read_like_an_appended_one() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let line = json!({
        "streamName": "Cart-1", "type": "Asked", "data": { "a": 1 }, "messageId": "m-1", "streamPosition": 1,
        "kind": "command", "schemaVersion": 7,
        "metadata": { "correlationId": "c", "causationId": "d", "user": "anna" },
    });

    let report = store.import(line.to_string().as_bytes(), ImportOptions::new())?;
    store.append_to_stream("Cart-1", &[added("shoes", 1)])?;

    let read = store.read_stream::<RawEvent>("Cart-1")?;
    let recorded = &read.events[0];
    assert_eq!(
        (read.current_version, report.last_global_position),
        (2, recorded.global_position)
    );
    assert_eq!(recorded.event, RawEvent::new("Asked", json!({ "a": 1 })));
    assert_eq!(
        (recorded.kind, recorded.schema_version),
        (MessageKind::Command, 7)
    );
    let causes = (
        recorded.correlation_id.as_deref(),
        recorded.causation_id.as_deref(),
    );
    assert_eq!(causes, (Some("c"), Some("d")));
    assert_eq!(
        (recorded.message_id.as_str(), &recorded.metadata["user"]),
        ("m-1", &json!("anna"))
    );
    let age = read.events[1]
        .recorded_at
        .duration_since(recorded.recorded_at)?;
    assert!(age.as_secs() < 60);
    Ok(())
}

#[test]
fn kinds_are_read_in_all_their_spellings_and_missing_ids_are_made() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let kinds = ["event", "Event", "E", "command", "Command", "C"];
    let lines = kinds.map(|kind| {
        json!({ "streamName": "Cart-1", "type": "A", "data": null, "kind": kind }).to_string()
    });

    import(&store, &lines.join("\n"), 100)?;

    let events = store.read_stream::<RawEvent>("Cart-1")?.events;
    let commands = events
        .iter()
        .map(|recorded| recorded.kind == MessageKind::Command);
    assert_eq!(
        commands.collect::<Vec<_>>(),
        [false, false, false, true, true, true]
    );
    let mut ids: Vec<_> = events.iter().map(|recorded| &recorded.message_id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 6);
    Ok(())
}

#[test]
fn line_ends_and_blank_lines_do_not_matter() -> anyhow::Result<()> {
    let plain = plain_log(1..=10);
    for log in [
        plain.clone(),
        plain.trim_end().to_owned(),
        plain.replace('\n', "\r\n"),
        plain.replace('\n', "\n\n"),
        plain.replace('\n', "  \r\n\t\r\n"),
        format!("\n\n{plain}\n \n"),
        plain.replace("{\"", " { \""),
    ] {
        let (_database, store) = store()?;
        for batch_size in [3, 100] {
            let name = format!("in batches of {batch_size}");
            let options = ImportOptions::new().batch_size(batch_size).name(name);
            let report = store.import(log.as_bytes(), options)?;
            assert_eq!((report.imported, report.skipped), (10, 0), "{log:?}");
        }
        let twice: Vec<u64> = (1..=10).chain(1..=10).collect();
        assert_eq!(numbers(&store)?, twice, "{log:?}");
    }
    Ok(())
}

#[test]
fn an_empty_log_is_imported_and_an_empty_store_exported() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    for log in ["", "\n", "\r\n\r\n"] {
        assert_eq!(import(&store, log, 10)?.imported, 0);
    }
    let mut log = Vec::new();
    let report = store.export(&mut log, ExportOptions::new())?;

    assert_eq!((log.len(), report.messages, report.position), (0, 0, 0));
    Ok(())
}

#[test]
fn progress_is_told_after_every_batch() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = plain_log(1..=25);
    let mut told: Vec<ImportProgress> = Vec::new();

    let options = ImportOptions::new()
        .batch_size(10)
        .on_progress(|progress| told.push(progress));
    store.import(log.as_bytes(), options)?;

    let seen: Vec<_> = told
        .iter()
        .map(|progress| (progress.lines, progress.imported))
        .collect();
    assert_eq!(seen, [(10, 10), (20, 20), (25, 25)]);
    assert_eq!(told[2].bytes, log.len() as u64);
    Ok(())
}

#[test]
fn an_export_goes_on_where_the_last_one_ended() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let mut parts = Vec::new();
    let mut after = 0;

    for first in [1, 11, 21] {
        store.import(
            plain_log(first..=first + 9).as_bytes(),
            ImportOptions::new(),
        )?;
        let report = store.export(&mut parts, ExportOptions::new().after(after))?;
        assert_eq!(report.messages, 10);
        after = report.position;
    }

    assert!(String::from_utf8(parts)? == export(&store)?);
    Ok(())
}

#[test]
fn an_export_has_archived_streams_and_stops_before_an_open_append() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    import(&store, &plain_log(1..=10), 10)?;
    store.archive_stream("Case-1")?;

    let mut open = store.begin()?;
    open.append_to_stream("Case-2", &[added("shoes", 1)])?;
    store.append_to_stream("Case-3", &[added("shoes", 1)])?;
    let before = export(&store)?;
    open.commit()?;

    assert_eq!(
        (before.lines().count(), export(&store)?.lines().count()),
        (10 + 1, 12 + 1),
        "the last line says that Case-1 is archived"
    );
    Ok(())
}

#[test]
fn a_reader_or_writer_that_fails_is_reported() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = plain_log(1..=10);
    let failing = io::Read::chain(log.as_bytes(), Failing);
    let failing = io::BufReader::new(failing);

    let imported = store.import(failing, ImportOptions::new().batch_size(4));
    assert!(
        matches!(imported, Err(Error::EventLog(EventLogError::Io { .. }))),
        "{imported:?}"
    );
    assert_eq!(numbers(&store)?.len(), 8, "the whole batches are stored");
    let exported = store.export(Failing, ExportOptions::new());
    assert!(
        matches!(exported, Err(Error::EventLog(EventLogError::Io { .. }))),
        "{exported:?}"
    );

    assert_eq!(
        import(&store, &log, 4)?,
        Outcome {
            lines: 10,
            imported: 2,
            skipped: 8
        }
    );
    Ok(())
}

struct Failing;

impl io::Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk is gone"))
    }
}

impl io::Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk is full"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn numbers_and_texts_survive_as_json_has_them() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let line = r#"{"streamName":"A-1","type":"B","data":[18446744073709551615,-9223372036854775808,0.1,1e-7,123456789012345678901234567890,"\u00e9\ud83d\ude00\/"]}"#;

    import(&store, line, 10)?;

    let found: Vec<Value> = parse(&export(&store)?)?;
    let expected = json!([
        u64::MAX,
        i64::MIN,
        0.1,
        1e-7,
        123_456_789_012_345_678_901_234_567_890.0,
        "é😀/"
    ]);
    assert_eq!(found[0]["data"], expected);
    Ok(())
}

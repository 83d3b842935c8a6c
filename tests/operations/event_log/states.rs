//! Lines about streams: the archive and metadata, in stores that have the streams already.

use super::fidelity::metadata;
use super::logs::{
    export, export_without_positions, import, numbers, plain_line, plain_log, refused_line,
};
use crate::support::store;
use emmett_postgresql::{
    EventStore, RawEvent, ReadOptions, Result,
    operations::{ExportOptions, ImportOptions},
};
use serde_json::{Map, Value, json};

fn about(stream: &str, state: &str) -> String {
    format!("{{\"streamName\":\"{stream}\",{state}}}\n")
}

fn owned_by(owner: &str) -> Map<String, Value> {
    Map::from_iter([("owner".to_owned(), json!(owner))])
}

/// How many messages a stream has in the archive, and how many outside of it.
fn sides(store: &EventStore, stream: &str) -> Result<(usize, usize)> {
    let all = store.read_stream_with::<RawEvent>(stream, ReadOptions::new().include_archived())?;
    let active = store.read_stream::<RawEvent>(stream)?.events.len();
    Ok((all.events.len() - active, active))
}

#[test]
fn a_line_moves_a_stream_that_exists_to_the_archive_and_another_brings_it_back()
-> anyhow::Result<()> {
    let (_database, store) = store()?;
    import(&store, &plain_log(1..=10), 100)?;

    let archived = about("Case-1", "\"archived\":true") + &about("Case-2", "\"archived\":true");
    let report = store.import(archived.as_bytes(), ImportOptions::new())?;
    assert_eq!((report.lines, report.imported, report.streams), (2, 0, 2));
    assert_eq!(
        (sides(&store, "Case-1")?, sides(&store, "Case-2")?),
        ((2, 0), (2, 0))
    );
    assert!(
        store
            .append_to_stream("Case-1", &[RawEvent::new("Noted", json!({}))])
            .is_err()
    );

    // Already there, back, and neither.
    let again = about("Case-1", "\"archived\":true")
        + &about("Case-2", "\"archived\":false")
        + &about("Case-3", "\"archived\":false");
    store.import(again.as_bytes(), ImportOptions::new().name("again"))?;
    let found = ["Case-1", "Case-2", "Case-3"].map(|stream| sides(&store, stream));
    assert_eq!(
        found.into_iter().collect::<Result<Vec<_>>>()?,
        [(2, 0), (0, 2), (0, 2)]
    );
    assert_eq!(numbers(&store)?, (1..=10).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn metadata_of_a_line_replace_those_of_a_stream_wherever_it_is() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    import(&store, &plain_log(1..=10), 100)?;
    for stream in ["Case-1", "Case-2", "Case-3"] {
        store.set_stream_metadata(stream, &metadata("anna"))?;
    }
    store.archive_stream("Case-2")?;

    let log = about("Case-1", "\"streamMetadata\":{\"owner\":\"berta\"}")
        + &about("Case-2", "\"streamMetadata\":{\"owner\":\"carla\"}")
        + &about("Case-3", "\"archived\":true")
        + &about("Case-4", "\"streamMetadata\":{}");
    import(&store, &log, 2)?;

    assert_eq!(store.stream_metadata("Case-1")?, Some(owned_by("berta")));
    assert_eq!(
        store.stream_metadata("Case-2")?,
        None,
        "it stays in the archive"
    );
    for (stream, expected) in [("Case-2", owned_by("carla")), ("Case-3", metadata("anna"))] {
        store.unarchive_stream(stream)?;
        assert_eq!(store.stream_metadata(stream)?, Some(expected), "{stream}");
    }
    assert_eq!(store.stream_metadata("Case-4")?, Some(Map::new()));
    Ok(())
}

#[test]
fn of_several_lines_about_a_stream_the_last_counts_whatever_the_batches() -> anyhow::Result<()> {
    for batch_size in [1, 2, 3, 100] {
        let (_database, store) = store()?;
        let log = plain_log(1..=5)
            + &about(
                "Case-1",
                "\"archived\":true,\"streamMetadata\":{\"owner\":\"anna\"}",
            )
            + &about("Case-2", "\"archived\":true")
            + &about("Case-1", "\"archived\":false")
            + &about("Case-1", "\"streamMetadata\":{\"owner\":\"berta\"}")
            + &about("Case-2", "\"streamMetadata\":{\"owner\":\"carla\"}")
            + &plain_line(6);

        let imported = import(&store, &log, batch_size)?;

        assert_eq!((imported.lines, imported.imported), (11, 6), "{batch_size}");
        assert_eq!(store.stream_metadata("Case-1")?, Some(owned_by("berta")));
        assert_eq!(
            (sides(&store, "Case-1")?, sides(&store, "Case-2")?),
            ((0, 2), (1, 0))
        );
        store.unarchive_stream("Case-2")?;
        assert_eq!(store.stream_metadata("Case-2")?, Some(owned_by("carla")));
    }
    Ok(())
}

#[test]
fn messages_after_the_line_that_archives_their_stream_are_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = plain_log(1..=5) + &about("Case-1", "\"archived\":true") + &plain_line(6);

    let (line, reason) = refused_line(import(&store, &log, 100));
    assert_eq!(line, 7);
    assert!(
        reason.contains("\"archived\": false in a line about it"),
        "{reason}"
    );

    // The advice of the error works.
    import(&store, &about("Case-1", "\"archived\":false"), 100)?;
    assert_eq!(import(&store, &log, 100)?.imported, 1);
    assert_eq!(sides(&store, "Case-1")?, (0, 2));
    Ok(())
}

#[test]
fn an_import_that_was_interrupted_between_lines_about_streams_goes_on() -> anyhow::Result<()> {
    let (_source_database, source) = store()?;
    import(&source, &plain_log(1..=20), 100)?;
    for stream in ["Case-0", "Case-1", "Case-2", "Case-3"] {
        source.set_stream_metadata(stream, &metadata(stream))?;
        source.archive_stream(stream)?;
    }
    let log = export(&source)?;
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 24);

    let (_database, store) = store()?;
    for until in 19..=23 {
        // The rest of the batch is a bad line.
        let interrupted = lines[..until].join("\n") + "\nno line\n";
        let (line, _) = refused_line(import(&store, &interrupted, 2));
        assert_eq!(usize::try_from(line)?, until + 1);
    }
    let report = store.import(log.as_bytes(), ImportOptions::new())?;

    assert_eq!(
        (report.skipped, report.imported, report.streams),
        (22, 0, 2)
    );
    assert_eq!(
        export_without_positions(&store)?,
        export_without_positions(&source)?
    );
    assert_eq!(
        store.import(log.as_bytes(), ImportOptions::new())?.skipped,
        24
    );
    Ok(())
}

#[test]
fn parts_that_were_exported_one_after_the_other_are_a_log() -> anyhow::Result<()> {
    let (_source_database, source) = store()?;
    let mut parts = Vec::new();
    let mut after = 0;

    for part in 0..3 {
        let first = part * 10 + 1;
        import(&source, &plain_log(first..=first + 9), 100)?;
        source.set_stream_metadata("Case-1", &owned_by(&part.to_string()))?;
        if part == 2 {
            source.archive_stream("Case-3")?;
        }
        let report = source.export(&mut parts, ExportOptions::new().after(after))?;
        assert_eq!(
            (report.messages, report.streams),
            (10, if part == 2 { 2 } else { 1 })
        );
        after = report.position;
    }
    let (_database, copy) = store()?;
    copy.import(parts.as_slice(), ImportOptions::new().batch_size(4))?;

    assert_eq!(
        export_without_positions(&copy)?,
        export_without_positions(&source)?
    );
    assert_eq!(copy.stream_metadata("Case-1")?, Some(owned_by("2")));
    Ok(())
}

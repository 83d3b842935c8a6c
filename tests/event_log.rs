//! Importing and exporting event logs.

use crate::support::{CartEvent, added, database, store};
use emmett_postgresql::{
    AppendOptions, DocumentProjection, Error, EventStore, ExportOptions, FeedOptions,
    ImportOptions, MessageKind, RawEvent, ReadOptions, Recorded,
};
use serde_json::{Value, json};
use std::io::{BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

/// A log of so many lines in a hundred streams, with all that a line may have.
fn log(lines: usize) -> String {
    let lines = (0..lines).map(|number| {
        let mut line = json!({
            "streamName": format!("Cart-{}", number * 7 % 100),
            "type": if number % 3 == 0 { "ProductItemAdded" } else { "Überprüft 🎉" },
            "data": {"productId": format!("p{number}"), "quantity": number, "price": format!("{number}.1").parse::<f64>().expect("a number")},
        });
        if number % 2 == 0 {
            line["metadata"] = json!({"clientId": "anna", "n": number});
        }
        if number % 5 == 0 {
            line["kind"] = json!("command");
            line["schemaVersion"] = json!(2);
            line["messageId"] = json!(format!("id-{number}"));
        }
        format!("{line}\n")
    });
    lines.collect()
}

fn import(
    store: &EventStore,
    log: &str,
    batch: usize,
) -> Result<emmett_postgresql::ImportReport, Error> {
    store.import(log.as_bytes(), ImportOptions::new().batch_size(batch))
}

fn exported(store: &EventStore) -> anyhow::Result<String> {
    let mut log = Vec::new();
    store.export(&mut log, ExportOptions::new())?;
    Ok(String::from_utf8(log)?)
}

#[test]
fn an_exported_log_imported_elsewhere_exports_the_same() -> anyhow::Result<()> {
    let ((_one, first), (_other, second)) = (store()?, store()?);
    import(&first, &log(3_000), 1_000)?;
    first.archive_stream("Cart-7")?;

    let once = exported(&first)?;
    let report = import(&second, &once, 700)?;

    assert_eq!((report.imported, report.lines), (3_000, 3_000));
    assert_eq!(exported(&second)?, once);
    Ok(())
}

#[test]
fn the_order_of_the_lines_is_the_global_order_and_all_fields_are_kept() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = log(250);

    import(&store, &log, 60)?;

    let feed = store
        .read_all::<RawEvent>(FeedOptions::new())
        .collect::<Result<Vec<_>, _>>()?;
    for (number, (recorded, line)) in feed.iter().zip(log.lines()).enumerate() {
        let line: Value = serde_json::from_str(line)?;
        assert_eq!(line["streamName"], *recorded.stream_name);
        assert_eq!(line["type"], recorded.message_type);
        assert_eq!(line["data"], recorded.event.data);
        let is_command = number % 5 == 0;
        assert_eq!(recorded.kind == MessageKind::Command, is_command);
        assert_eq!(recorded.schema_version, if is_command { 2 } else { 1 });
        assert_eq!(recorded.message_id == format!("id-{number}"), is_command);
        assert_eq!(recorded.metadata.is_empty(), number % 2 == 1);
    }
    let read = store.read_stream::<RawEvent>("Cart-0")?;
    let versions: Vec<_> = read
        .events
        .iter()
        .map(|recorded| recorded.stream_position)
        .collect();
    assert_eq!(versions, [1, 2, 3]);
    Ok(())
}

#[test]
fn a_log_is_imported_once_and_its_growth_later() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let whole = log(1_000);
    let (end, _) = whole.match_indices('\n').nth(399).expect("a line");
    let beginning = &whole[..=end];

    let first = import(&store, beginning, 150)?;
    let again = import(&store, beginning, 150)?;
    let grown = import(&store, whole.trim_end(), 150)?;

    assert_eq!((first.imported, first.skipped), (400, 0));
    assert_eq!((again.imported, again.skipped), (0, 400));
    assert_eq!((grown.imported, grown.skipped), (600, 400));
    assert_eq!(exported(&store)?.lines().count(), 1_000);
    Ok(())
}

#[test]
fn another_log_that_begins_alike_is_noticed() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let whole = log(100);
    import(&store, &whole, 50)?;

    let changed = import(&store, &whole.replace("p42", "p43"), 50);
    let shortened = import(&store, whole.lines().next().expect("a line"), 50);
    let named = store.import(
        whole.as_bytes(),
        ImportOptions::new().name("a second time, on purpose"),
    )?;

    for refused in [changed, shortened] {
        assert!(
            matches!(&refused, Err(Error::ImportLine { reason, .. }) if reason.contains("another log")),
            "{refused:?}"
        );
    }
    assert_eq!(named.imported, 100);
    Ok(())
}

/// Each line is bad in its way; it stands behind two good ones, in the third batch of two.
#[test]
fn a_bad_line_is_named_and_nothing_of_its_batch_is_stored() -> anyhow::Result<()> {
    let good = r#"{"streamName":"Cart-1","type":"X","data":{}}"#;
    let too_deep = format!(
        r#"{{"streamName":"Cart-1","type":"X","data":{}1{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let bad = [
        "{",
        "[]",
        "no JSON",
        r#"{"type":"X","data":{}}"#,
        r#"{"streamName":"Cart-1","data":{}}"#,
        r#"{"streamName":"Cart-1","type":"X"}"#,
        r#"{"streamName":"","type":"X","data":{}}"#,
        r#"{"streamName":"Cart-1","type":"","data":{}}"#,
        r#"{"streamName":"Cart-1","type":"X","data":{},"meta":{}}"#,
        r#"{"streamName":"Cart-1","type":"X","data":{},"metadata":[]}"#,
        r#"{"streamName":"Cart-1","type":"X","data":{},"kind":"other"}"#,
        r#"{"streamName":"Cart-1","type":"X","data":{},"streamPosition":17}"#,
        r#"{"streamName":"Cart-1","type":"X","data":"\u0000"}"#,
        r#"{"streamName":"Cart-1","type":"X","data":"\ud800"}"#,
        r#"{"streamName":"Cart-1","type":"X","data":NaN}"#,
        r#"{"streamName":"Cart-1","type":"X","data":1e999999}"#,
        r#"{"streamName":"Archived-1","type":"X","data":{}}"#,
        &too_deep,
    ];
    let (_database, store) = store()?;
    store.append_to_stream("Archived-1", &[added("a", 1)])?;
    store.archive_stream("Archived-1")?;

    for (number, line) in bad.iter().enumerate() {
        let stream = format!("Cart-{number}");
        let log = [good, good, good, good, good, line, good]
            .join("\n")
            .replace("Cart-1", &stream);
        let refused = import(&store, &log, 2);

        assert!(
            matches!(refused, Err(Error::ImportLine { line: 6, .. })),
            "{line}: {refused:?}"
        );
        assert_eq!(
            store.read_stream::<RawEvent>(&stream)?.current_version,
            4,
            "{line}"
        );
    }
    Ok(())
}

#[test]
fn a_mended_log_goes_on_behind_what_is_stored() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let whole = log(100);
    let broken = whole.replacen("\"p70\"", "p70", 1);

    assert!(import(&store, &broken, 20).is_err());
    let report = import(&store, &whole, 20)?;

    assert_eq!((report.skipped, report.imported), (60, 40));
    assert_eq!(exported(&store)?.lines().count(), 100);
    Ok(())
}

#[test]
fn line_ends_and_blank_lines_do_not_matter() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let line = r#"{"streamName":"Cart-1","type":"X","data":{}}"#;

    let report = import(&store, &format!("{line}\r\n\n   \n{line}\n\r\n{line}"), 2)?;

    assert_eq!((report.lines, report.imported), (6, 3));
    Ok(())
}

#[test]
fn an_empty_log_imports_nothing() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    let report = import(&store, "", 2)?;

    assert_eq!((report.lines, report.imported), (0, 0));
    Ok(())
}

#[test]
fn an_import_beside_appends_keeps_every_stream_in_order() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    thread::scope(|scope| {
        for writer in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..100 {
                    let stream = format!("Cart-{}", (writer + number) % 100);
                    store
                        .append_to_stream(&stream, &[added("own", 1)])
                        .expect("an append");
                }
            });
        }
        import(&store, &log(2_000), 100).expect("an import");
    });

    let feed = store
        .read_all::<RawEvent>(FeedOptions::new())
        .collect::<Result<Vec<_>, _>>()?;
    assert_eq!(feed.len(), 2_400);
    let mut versions = std::collections::HashMap::new();
    for recorded in &feed {
        let version = versions.entry(recorded.stream_name.clone()).or_insert(0);
        *version += 1;
        assert_eq!(
            recorded.stream_position, *version,
            "{}",
            recorded.stream_name
        );
    }
    Ok(())
}

#[test]
fn of_two_imports_of_one_log_at_once_each_line_is_stored_once() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = log(2_000);

    let results = thread::scope(|scope| {
        let imports: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| import(&store, &log, 50)))
            .collect();
        imports
            .into_iter()
            .map(|import| import.join().expect("no panic"))
            .collect::<Vec<_>>()
    });
    let finished = import(&store, &log, 50)?;

    assert!(results.iter().any(Result::is_ok) || finished.imported > 0);
    assert_eq!(exported(&store)?.lines().count(), 2_000);
    Ok(())
}

#[test]
fn an_import_that_was_killed_goes_on_without_duplicates() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let log = log(3_000);
    let split = log.match_indices('\n').nth(1_700).expect("a line").0;
    let import = |stdin| {
        Command::new(env!("CARGO_BIN_EXE_emmett"))
            .args([
                "import",
                "-",
                "--batch-size",
                "100",
                "--connection-string",
                database.url(),
            ])
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };

    let mut killed = import(Stdio::piped())?;
    let mut pipe = killed.stdin.take().expect("a pipe");
    pipe.write_all(&log.as_bytes()[..split])?;
    crate::support::wait_until("batches are stored", || {
        store
            .read_all::<RawEvent>(FeedOptions::new().after(1_000))
            .next()
            .is_some()
    });
    killed.kill()?;
    killed.wait()?;
    let mut resumed = import(Stdio::piped())?;
    resumed
        .stdin
        .take()
        .expect("a pipe")
        .write_all(log.as_bytes())?;
    let output = resumed.wait_with_output()?;

    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("had been imported before"));
    let stored = store
        .read_all::<RawEvent>(FeedOptions::new())
        .collect::<Result<Vec<_>, _>>()?;
    let products: Vec<_> = stored
        .iter()
        .map(|recorded| recorded.event.data["quantity"].as_u64())
        .collect();
    assert_eq!(products, (0..3_000).map(Some).collect::<Vec<_>>());
    Ok(())
}

fn counts() -> DocumentProjection<Value, RawEvent> {
    DocumentProjection::single_stream(
        "counts",
        |count: Option<Value>, recorded: &Recorded<RawEvent>| {
            let events = count.and_then(|count| count["n"].as_u64()).unwrap_or(0) + 1;
            Some(json!({"n": events, "last": recorded.stream_position}))
        },
    )
}

fn counted(store: &EventStore) -> anyhow::Result<Vec<(u64, u64)>> {
    let documents = store
        .collection::<Value>("counts")
        .find(json!({}))
        .sort(json!({"_id": 1}))
        .to_vec()?;
    Ok(documents
        .iter()
        .filter_map(|document| Some((document["n"].as_u64()?, document["last"].as_u64()?)))
        .collect())
}

#[test]
fn inline_projections_see_every_imported_event() -> anyhow::Result<()> {
    let database = database();
    let store = EventStore::builder(database.url())
        .inline_projection(counts())
        .open()?;

    import(&store, &log(1_000), 130)?;

    assert_eq!(counted(&store)?, [(10, 10); 100]);
    Ok(())
}

#[test]
fn an_import_without_the_stores_projections_is_refused_or_marks_them_stale() -> anyhow::Result<()> {
    let database = database();
    let with = EventStore::builder(database.url())
        .inline_projection(counts())
        .open()?;
    with.append_to_stream("Cart-0", &[added("a", 1)])?;
    let without = EventStore::open(database.url())?;
    let log = log(200);

    let refused = import(&without, &log, 50);
    let report = without.import(log.as_bytes(), ImportOptions::new().without_projections())?;
    let stale = with.append_to_stream("Cart-0", &[added("a", 1)]);
    with.rebuild_inline_projection("counts")?;
    with.append_to_stream_with(
        "Cart-0",
        &[added("a", 1)],
        AppendOptions::new().expected_version(3),
    )?;

    assert!(
        matches!(&refused, Err(Error::InvalidInput { reason, .. }) if reason.contains("counts")),
        "{refused:?}"
    );
    assert_eq!(
        (report.imported, report.stale_projections),
        (200, vec!["counts".to_owned()])
    );
    assert!(
        matches!(&stale, Err(Error::ProjectionMismatch { message, .. }) if message.contains("stale")),
        "{stale:?}"
    );
    let all = counted(&with)?;
    assert_eq!((all[0], all.len()), ((4, 4), 100));
    Ok(())
}

#[test]
fn progress_is_told_after_every_batch() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = log(100);
    let mut told = Vec::new();

    let options = ImportOptions::new()
        .batch_size(40)
        .on_progress(|progress| told.push((progress.lines, progress.bytes)));
    store.import(BufReader::new(log.as_bytes()), options)?;

    assert_eq!(
        told.iter().map(|(lines, _)| *lines).collect::<Vec<_>>(),
        [40, 80, 100]
    );
    assert_eq!(told.last().map(|(_, bytes)| *bytes), Some(log.len() as u64));
    Ok(())
}

#[test]
fn an_export_goes_on_behind_a_position_and_holds_back_for_open_appends() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("a", 1), added("b", 1)])?;
    let mut open = store.begin()?;
    open.append_to_stream("Cart-2", &[added("c", 1)])?;
    store.append_to_stream("Cart-1", &[added("d", 1)])?;

    let mut log = Vec::new();
    let held = store.export(&mut log, ExportOptions::new())?;
    open.commit()?;
    let rest = store.export(&mut log, ExportOptions::new().after(held.position))?;

    assert_eq!((held.messages, held.position), (2, 2));
    assert_eq!((rest.messages, rest.position), (2, 4));
    assert_eq!(String::from_utf8(log)?.lines().count(), 4);
    let archived =
        store.read_stream_with::<CartEvent>("Cart-1", ReadOptions::new().include_archived())?;
    assert_eq!(archived.events.len(), 3);
    Ok(())
}

/// A reader that fails in the middle.
struct Broken<'a>(&'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::Error::other("the disk is gone")),
            count => Ok(count),
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_further_is_an_error_and_can_be_continued() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let log = log(100);

    let broken = store.import(
        BufReader::new(Broken(log.as_bytes())),
        ImportOptions::new().batch_size(30),
    );
    let report = import(&store, &log, 30)?;

    assert!(matches!(broken, Err(Error::Io(_))), "{broken:?}");
    assert_eq!((report.skipped, report.imported), (90, 10));
    Ok(())
}

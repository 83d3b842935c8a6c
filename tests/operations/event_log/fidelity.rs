//! A copy of a store by export and import has all that the log's tables have, but for the positions.

use super::logs::{export, export_without_positions, import, parse};
use crate::support::{added, store, wait_until_active};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    DocumentProjection, EventStore, FeedOptions, NewMessage, RawEvent, ReadOptions, Recorded,
    Result,
    events::MessageKind,
    operations::{ExportOptions, ExportProgress, ImportOptions},
};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime};

/// The rows of a log's tables, without the values that an import draws anew.
const ROWS: &str = "
    SELECT concat_ws(' | ', stream_id, stream_position, partition, stream_type, stream_metadata, is_archived)
      FROM emt_streams
    UNION ALL
    SELECT concat_ws(' | ', stream_id, stream_position, partition, created, is_archived, message_kind,
                     message_schema_version, message_id, message_type, message_data, message_metadata)
      FROM emt_messages
    ORDER BY 1";

/// Times that a number of seconds, a float or a double rounding would change, and one before 1970.
const TIMES: [&str; 4] = [
    "1969-12-31T23:59:59.999999Z",
    "2020-02-29T12:00:00.000001Z",
    "2023-10-29T02:30:00.123457Z",
    "0001-01-01T00:00:00Z",
];

fn rows(database: &Database) -> anyhow::Result<Vec<String>> {
    let rows = database.client()?.query(ROWS, &[])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub(super) fn metadata(owner: &str) -> Map<String, Value> {
    let owner = json!({ "owner": owner, "größe": [1, 2.5, null], "z": {}, "a": "\"\n" });
    owner.as_object().cloned().unwrap_or_default()
}

/// Streams of all kinds: active and archived, with and without metadata, a workflow's with commands; gaps between positions.
fn fill(store: &EventStore) -> Result<()> {
    for number in 0..3 {
        for stream in ["Cart-1", "Cart-2", "Cart-3", "Cart-4", "Größe-'5\""] {
            store.append_to_stream(stream, &[added("hat", number)])?;
        }
        let command = NewMessage::new(RawEvent::new("Ask", json!({ "number": number })));
        let command = command
            .kind(MessageKind::Command)
            .correlation_id("c")
            .metadata("user", "anna");
        store.append_to_stream("emt:workflow:Order:7", &[command])?;
        let mut rolled_back = store.begin()?;
        rolled_back.append_to_stream("Cart-1", &[added("shoes", 1)])?;
        drop(rolled_back);
    }
    for stream in ["Cart-2", "Größe-'5\"", "Cart-3"] {
        assert!(store.set_stream_metadata(stream, &metadata(stream))?);
    }
    for stream in ["Cart-4", "Cart-2", "Größe-'5\""] {
        assert_eq!(store.archive_stream(stream)?, Some(3));
    }
    Ok(())
}

/// Gives a few messages other times than the rest.
fn backdate(database: &Database) -> anyhow::Result<()> {
    let mut client = database.client()?;
    for (position, time) in (2_i64..).zip(TIMES) {
        let update =
            "UPDATE emt_messages SET created = $2::TEXT::TIMESTAMPTZ WHERE global_position = $1";
        let changed = client.execute(update, &[&position, &time])?;
        assert_eq!(changed, 1, "there is a message at {position}");
    }
    Ok(())
}

#[test]
fn a_copy_of_a_store_gives_the_same_log_byte_for_byte_and_has_the_same_rows() -> anyhow::Result<()>
{
    let (database, source) = store()?;
    fill(&source)?;
    backdate(&database)?;
    let with_positions = export(&source)?;
    let without = export_without_positions(&source)?;
    for time in TIMES {
        assert!(
            without.contains(&format!("\"recordedAt\":\"{time}\"")),
            "{without}"
        );
    }

    for (log, batch_size) in [
        (&with_positions, 1),
        (&without, 4),
        (&with_positions, 5_000),
    ] {
        let (copied, copy) = store()?;
        import(&copy, log, batch_size)?;

        assert_eq!(
            export_without_positions(&copy)?,
            without,
            "in batches of {batch_size}"
        );
        assert_eq!(rows(&copied)?, rows(&database)?);
        let mut positions = 1..;
        for (mut line, mut again) in parse(&with_positions)?
            .into_iter()
            .zip(parse(&export(&copy)?)?)
        {
            if let Some(position) = again["globalPosition"].take().as_u64() {
                assert_eq!(Some(position), positions.next(), "it was drawn anew");
            }
            line["globalPosition"].take();
            assert_eq!(line, again);
        }
        assert!(copy.prove_feed(1, copy.feed_horizon(0)?.position)?.holds());
        assert!(copy.doctor()?.findings.is_empty());
    }
    Ok(())
}

#[test]
fn a_copy_of_a_tenant_in_another_one_is_the_same_and_nobody_elses() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.tenants().add("acme")?;
    store.tenants().add("copy")?;
    let (acme, copy) = (store.tenant("acme")?, store.tenant("copy")?);
    fill(&acme)?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;

    let log = export(&acme)?;
    import(&copy, &log, 7)?;

    assert_eq!(
        export_without_positions(&copy)?,
        export_without_positions(&acme)?
    );
    assert_eq!(export(&store)?.lines().count(), 1);
    Ok(())
}

#[test]
fn a_message_keeps_its_time_and_one_without_gets_that_of_the_import() -> anyhow::Result<()> {
    let (database, _) = store()?;
    let times = DocumentProjection::single_stream(
        "times",
        |_: Option<Value>, recorded: &Recorded<RawEvent>| {
            let since_1970 = recorded.recorded_at.duration_since(SystemTime::UNIX_EPOCH);
            let micros = since_1970.map_or(0, |time| time.as_micros());
            Some(json!({ "time": u64::try_from(micros).unwrap_or_default() }))
        },
    );
    let store = EventStore::builder(database.url())
        .inline_projection(times)
        .open()?;
    let log = "{\"streamName\":\"A-1\",\"type\":\"B\",\"data\":{},\"recordedAt\":\"1970-01-01T01:00:00.000007+01:00\"}\n\
               {\"streamName\":\"A-2\",\"type\":\"B\",\"data\":{},\"recordedAt\":null}\n";

    import(&store, log, 10)?;

    let time = |stream: &str| -> anyhow::Result<SystemTime> {
        let read = store.read_stream::<RawEvent>(stream)?;
        let document = store
            .collection::<Value>("times")
            .find_one(json!({ "_id": stream }))?;
        let seen = document.and_then(|document| document["time"].as_u64());
        let recorded_at = read.events[0].recorded_at;
        let read = recorded_at
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_micros();
        assert_eq!(
            seen.map(u128::from),
            Some(read),
            "the projection has seen it"
        );
        Ok(recorded_at)
    };
    assert_eq!(
        time("A-1")?,
        SystemTime::UNIX_EPOCH + Duration::from_micros(7)
    );
    assert!(time("A-2")?.elapsed()? < Duration::from_secs(60));
    Ok(())
}

#[test]
fn inline_projections_see_the_messages_of_archived_streams() -> anyhow::Result<()> {
    let (_database, source) = store()?;
    fill(&source)?;
    let log = export(&source)?;
    let (copied, plain) = store()?;
    let counts = DocumentProjection::single_stream(
        "counts",
        |count: Option<Value>, _: &Recorded<RawEvent>| {
            let before = count.and_then(|count| count["count"].as_u64()).unwrap_or(0);
            Some(json!({ "count": before + 1 }))
        },
    );
    let copy = EventStore::builder(copied.url())
        .inline_projection(counts)
        .open()?;
    let half: Vec<&str> = log.lines().take(10).collect();

    // By a program with the projection, and then by one without it.
    import(&copy, &half.join("\n"), 4)?;
    import(&plain, &log, 4)?;
    wait_until_active(&copy);

    let documents = copy
        .collection::<Value>("counts")
        .find(json!({}))
        .to_vec()?;
    assert_eq!(documents.len(), 6);
    assert!(
        documents.iter().all(|document| document["count"] == 3),
        "{documents:?}"
    );
    assert!(!copy.stream_exists("Cart-4")?);
    Ok(())
}

#[test]
fn a_stream_after_the_horizon_is_left_out_with_its_state() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    store.set_stream_metadata("Cart-1", &metadata("anna"))?;
    let mut open = store.begin()?;
    open.append_to_stream("Cart-2", &[added("shoes", 1)])?;
    for stream in ["Cart-3", "Cart-4"] {
        store.append_to_stream(stream, &[added("shoes", 1)])?;
        store.set_stream_metadata(stream, &metadata("anna"))?;
    }
    store.archive_stream("Cart-4")?;

    let log = export(&store)?;
    open.commit()?;

    let streams: Vec<_> = parse(&log)?
        .iter()
        .map(|line| line["streamName"].clone())
        .collect();
    assert_eq!(streams, ["Cart-1", "Cart-1"], "a message, and metadata");
    let (_copied, copy) = crate::support::store()?;
    import(&copy, &log, 10)?;
    Ok(())
}

#[test]
fn an_export_tells_its_progress_after_each_page_and_at_the_end() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let line =
        |number| format!("{{\"streamName\":\"Case-{number}\",\"type\":\"Noted\",\"data\":{{}}}}\n");
    let log: String = (0..2_500).map(line).collect();
    import(&store, &log, 5_000)?;
    let mut told: Vec<ExportProgress> = Vec::new();

    let options = ExportOptions::new()
        .after(100)
        .on_progress(|progress| told.push(progress));
    let report = store.export(std::io::sink(), options)?;

    let seen: Vec<_> = told
        .iter()
        .map(|progress| (progress.messages, progress.position, progress.end))
        .collect();
    let pages = [
        (1_000, 1_100, 2_500),
        (2_000, 2_100, 2_500),
        (2_400, 2_500, 2_500),
    ];
    assert_eq!(seen[..3], pages);
    assert_eq!(seen[3..], pages[2..]);
    assert_eq!(
        (report.messages, report.streams, report.position),
        (2_400, 0, 2_500)
    );
    Ok(())
}

#[test]
fn damaged_metadata_of_a_stream_end_an_export_and_are_named() -> anyhow::Result<()> {
    let (database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1)])?;
    let damage = "UPDATE emt_streams SET stream_metadata = '[1]'";
    database.client()?.batch_execute(damage)?;

    let error = store
        .export(std::io::sink(), ExportOptions::new())
        .expect_err("no object");

    let text = error.to_string();
    assert!(text.contains("the metadata of stream \"Cart-1\""), "{text}");
    Ok(())
}

#[test]
fn a_log_that_a_tool_has_written_again_is_imported() -> anyhow::Result<()> {
    let (_database, source) = store()?;
    fill(&source)?;
    let (_copied, copy) = store()?;
    // With other order of keys, other blanks, and nulls.
    let mut log = String::new();
    for mut line in parse(&export(&source)?)? {
        let keys = line.as_object_mut().expect("an object");
        keys.sort_keys();
        if keys.contains_key("archived") {
            keys.entry("streamMetadata").or_insert(Value::Null);
        }
        log.push_str(&line.to_string().replace(":\"", ": \""));
        log.push_str("\r\n");
    }

    let report = copy.import(log.as_bytes(), ImportOptions::new().batch_size(3))?;

    assert_eq!((report.imported, report.streams), (18, 4));
    assert_eq!(
        export_without_positions(&copy)?,
        export_without_positions(&source)?
    );
    let archived =
        copy.read_stream_with::<RawEvent>("Cart-2", ReadOptions::new().include_archived())?;
    assert_eq!(archived.events.len(), 3);
    assert_eq!(copy.read_all::<RawEvent>(FeedOptions::new()).count(), 18);
    Ok(())
}

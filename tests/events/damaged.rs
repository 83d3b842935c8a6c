//! Damaged rows: reading them gives an error that names the problem, and never a wrong value.

use crate::support::{database, wait_until};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    Error, EventStore, FailurePolicy, FeedOptions, RawEvent, Reactor, ReadOptions, Recorded,
    events::MessageKind, operations::ExportOptions,
};
use serde_json::json;
use std::fmt::Write;

/// A store with one good message, and one whose row was changed.
fn damaged(change: &str) -> anyhow::Result<(Database, EventStore)> {
    let database = database();
    let store = EventStore::open(database.url())?;
    for stream in ["Cart-1", "Cart-2"] {
        store.append_to_stream(stream, &[RawEvent::new("Opened", json!({}))])?;
    }
    let change = format!("UPDATE emt_messages SET {change} WHERE stream_id = 'Cart-1'");
    database.client()?.batch_execute(&change)?;
    Ok((database, store))
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let _ = write!(text, ": {source}");
        cause = source.source();
    }
    text
}

fn deep() -> String {
    format!(
        r#"message_metadata = '{{"a": {}1{}}}'"#,
        "[".repeat(200),
        "]".repeat(200)
    )
}

/// Each row, and what its error says.
fn rows() -> Vec<(String, &'static str)> {
    vec![
        ("message_kind = 'X'".to_owned(), "kind `X`"),
        (
            "message_schema_version = 'v3'".to_owned(),
            "schema version `v3`",
        ),
        (
            "message_schema_version = ''".to_owned(),
            "schema version ``",
        ),
        (
            "message_schema_version = '-1'".to_owned(),
            "schema version `-1`",
        ),
        (
            "message_schema_version = '''1'".to_owned(),
            "schema version `'1`",
        ),
        (
            "message_schema_version = '4294967296'".to_owned(),
            "`4294967296`",
        ),
        (
            "message_metadata = '7'".to_owned(),
            "metadata is not an object",
        ),
        (
            "message_metadata = '[]'".to_owned(),
            "metadata is not an object",
        ),
        (
            "message_metadata = 'null'".to_owned(),
            "metadata is not an object",
        ),
        (
            deep(),
            "metadata is not an object that can be read: recursion limit",
        ),
        (
            r#"message_metadata = '{"correlationId": 7}'"#.to_owned(),
            "the correlationId 7",
        ),
        (
            r#"message_metadata = '{"causationId": {}}'"#.to_owned(),
            "the causationId {}",
        ),
    ]
}

#[test]
fn what_stands_beside_an_event_and_cannot_be_read_is_an_error_that_names_it() -> anyhow::Result<()>
{
    for (change, expected) in rows() {
        let (_database, store) = damaged(&change)?;
        let read = store.read_stream::<RawEvent>("Cart-1").map(drop);
        let folded = store
            .aggregate_stream("Cart-1", || (), |(), _: RawEvent| ())
            .map(drop);
        let walked = store
            .read_stream_iter::<RawEvent>("Cart-1", ReadOptions::new())
            .try_for_each(|one| one.map(drop));
        let feed: Vec<_> = store.read_all::<RawEvent>(FeedOptions::new()).collect();
        let exported = store.export(Vec::new(), ExportOptions::new()).map(drop);
        assert_eq!(feed.len(), 2, "{change}: the feed goes on");
        assert!(feed[1].is_ok(), "{change}: the feed goes on");
        let from_feed = feed.into_iter().next().expect("the first").map(drop);
        for outcome in [read, folded, walked, from_feed, exported] {
            let error = outcome.expect_err(&change);
            let Error::Decode {
                stream, version, ..
            } = &error
            else {
                anyhow::bail!("{change}: {error:?}");
            };
            assert_eq!((stream.as_str(), *version), ("Cart-1", 1));
            let text = chain(&error);
            assert!(text.contains(expected), "{change}: {text}");
        }
    }
    Ok(())
}

#[test]
fn a_version_in_quotes_is_that_version() -> anyhow::Result<()> {
    for (stored, version) in [("'1'", 1), ("\"2\"", 2), ("3", 3), ("4294967295", u32::MAX)] {
        let quoted = stored.replace('\'', "''");
        let (_database, store) = damaged(&format!("message_schema_version = '{quoted}'"))?;
        let read = store.read_stream::<RawEvent>("Cart-1")?;
        assert_eq!(read.events[0].schema_version, version, "{stored}");
    }
    Ok(())
}

#[test]
fn kinds_and_ids_that_are_there_are_read() -> anyhow::Result<()> {
    let ids = r#"'{"correlationId": "a", "causationId": null, "own": [7]}'"#;
    let (_database, store) = damaged(&format!("message_kind = 'C', message_metadata = {ids}"))?;
    let read = store.read_stream::<RawEvent>("Cart-1")?.events.remove(0);
    assert_eq!(read.kind, MessageKind::Command);
    assert_eq!(read.correlation_id.as_deref(), Some("a"));
    assert_eq!(read.causation_id, None);
    assert_eq!(read.metadata.get("own"), Some(&json!([7])));
    Ok(())
}

#[test]
fn a_damaged_message_is_parked_and_the_others_are_handled() -> anyhow::Result<()> {
    let (_database, store) = damaged("message_kind = 'X'")?;
    let reactor = Reactor::new("audit")
        .each(|_: &Recorded<RawEvent>, _| Ok(()))
        .on_failure(FailurePolicy::park());
    let consumer = store.consumer().reactor(reactor).start()?;
    wait_until("the other is handled", || consumer.handled("audit") == 1);
    consumer.stop()?;
    let parked = store
        .processors()
        .parked("audit", emmett_postgresql::operations::ParkedOptions::new())?;
    assert_eq!(parked.len(), 1);
    let error = parked[0].error.as_deref().unwrap_or_default();
    assert!(error.contains("kind `X`"), "{error}");
    Ok(())
}

#[test]
fn an_answer_to_a_message_whose_correlation_id_cannot_be_read_is_refused() -> anyhow::Result<()> {
    let (_database, store) = damaged(r#"message_metadata = '{"correlationId": 7}'"#)?;
    let reactor = Reactor::new("answers").each(|message: &Recorded<RawEvent>, context| {
        let answer = RawEvent::new("Answered", json!({}));
        if message.message_type == "Opened" {
            context.append_to_stream("Answer-1", &[answer])?;
        }
        Ok(())
    });
    let consumer = store.consumer().reactor(reactor).start()?;
    let error = consumer.wait().expect_err("is not swallowed");
    assert!(
        chain(&error).contains("correlationId 7"),
        "{}",
        chain(&error)
    );
    assert!(!store.stream_exists("Answer-1")?);
    Ok(())
}

#[test]
fn metadata_of_a_stream_that_is_no_object_is_an_error() -> anyhow::Result<()> {
    let (database, store) = damaged("message_kind = 'E'")?;
    let change = "UPDATE emt_streams SET stream_metadata = '[1]' WHERE stream_id = 'Cart-1'";
    database.client()?.batch_execute(change)?;
    let error = store.stream_metadata("Cart-1").expect_err("is no object");
    let text = "the metadata of stream \"Cart-1\" is stored as [1], but must be an object";
    assert_eq!(error.to_string(), text);
    Ok(())
}

#[test]
fn a_negative_position_is_not_the_first() -> anyhow::Result<()> {
    let (_database, store) = damaged("stream_position = -1")?;
    let first = store.read_all::<RawEvent>(FeedOptions::new()).next();
    let error = first.expect("a message").expect_err("has no position");
    assert!(
        error.to_string().contains("-1, but must be not negative"),
        "{error}"
    );
    Ok(())
}

#[test]
fn times_before_1970_come_back() -> anyhow::Result<()> {
    let (_database, store) = damaged("created = '1969-12-31 23:59:59Z'")?;
    let read = store.read_stream::<RawEvent>("Cart-1")?.events.remove(0);
    let before = std::time::SystemTime::UNIX_EPOCH.duration_since(read.recorded_at)?;
    assert_eq!(before.as_secs(), 1);
    Ok(())
}

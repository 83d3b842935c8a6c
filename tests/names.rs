//! Names and values that are made to break SQL are stored exactly, or refused before anything is sent.

use crate::support::{database, store};
use emmett_postgresql::{
    AppendOptions, DocumentProjection, Error, EventStore, ExpectedVersion, NewMessage, RawEvent,
    Recorded,
};
use serde_json::{Value, json};

const NASTY: [&str; 16] = [
    "'); DROP TABLE emt_streams; --",
    "\"; DROP TABLE emt_streams; --",
    "it's",
    "back\\slash",
    "\\'",
    "$$; SELECT 1; $$",
    "$1",
    "%s%I%L",
    "{schema}{streams}",
    "öäü ß Ω",
    "emoji 🎉👩‍👩‍👧",
    "\u{202e}right to left",
    "e\u{301} combining",
    "new\nline\ttab\r",
    " leading and trailing ",
    "NULL",
];

fn long() -> String {
    "語".repeat(300)
}

fn all_names() -> impl Iterator<Item = String> {
    NASTY.iter().map(|name| (*name).to_owned()).chain([long()])
}

#[test]
fn streams_types_ids_and_metadata_of_any_characters_come_back_exactly() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    for (number, name) in all_names().enumerate() {
        let message = NewMessage::new(RawEvent::new(&name, json!({ &name: &name })))
            .message_id(format!("{number} {name}"))
            .correlation_id(&name)
            .causation_id(&name)
            .metadata(&name, name.as_str());
        let first = AppendOptions::new().expect(ExpectedVersion::NoStream);
        store.append_to_stream_with(&name, &[message], first)?;

        let read = store.read_stream::<RawEvent>(&name)?;
        let recorded = &read.events[0];
        assert_eq!(
            (&*recorded.stream_name, &recorded.message_type),
            (name.as_str(), &name)
        );
        assert_eq!(recorded.event.data, json!({ &name: &name }));
        assert_eq!(recorded.message_id, format!("{number} {name}"));
        assert_eq!(
            (&recorded.correlation_id, &recorded.causation_id),
            (&Some(name.clone()), &Some(name.clone()))
        );
        assert_eq!(recorded.metadata[&name], name.as_str());
        assert!(store.archive_stream(&name)?.is_some() && store.unarchive_stream(&name)?.is_some());
    }
    Ok(())
}

#[test]
fn names_that_cannot_be_stored_are_refused_before_anything_is_sent() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let event = || RawEvent::new("X", json!({}));
    let too_long = "x".repeat(2_001);

    for stream in ["", "nul\0", &too_long] {
        for refused in [
            store.append_to_stream(stream, &[event()]).map(|_| ()),
            store.read_stream::<RawEvent>(stream).map(|_| ()),
            store.stream_exists(stream).map(|_| ()),
            store.archive_stream(stream).map(|_| ()),
        ] {
            assert!(
                matches!(&refused, Err(Error::InvalidInput { what, .. }) if what.contains("stream name")),
                "{refused:?}"
            );
        }
    }
    for message in [
        NewMessage::new(RawEvent::new("", json!({}))),
        NewMessage::new(RawEvent::new("nul\0", json!({}))),
        NewMessage::new(event()).message_id(""),
        NewMessage::new(event()).message_id("nul\0"),
        NewMessage::new(event()).correlation_id("nul\0"),
        NewMessage::new(event()).metadata("streamName", "reserved"),
        NewMessage::new(event()).metadata("nul", "nul\0"),
        NewMessage::new(event()).metadata("nul\0", 1),
        NewMessage::new(RawEvent::new("X", json!({"nul": "\0"}))),
    ] {
        let refused = store.append_to_stream("Cart-1", std::slice::from_ref(&message));
        assert!(
            matches!(
                refused,
                Err(Error::InvalidInput { .. } | Error::Encode { .. })
            ),
            "{message:?}: {refused:?}"
        );
    }

    let stored = database
        .client()?
        .query_one("SELECT count(*) FROM emt_messages", &[])?;
    assert_eq!(stored.get::<_, i64>(0), 0);
    Ok(())
}

#[test]
fn a_stream_name_of_two_thousand_random_bytes_fits_the_index() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let mut state = 7_u32;
    // Characters that do not compress: PostgreSQL would squeeze a repeated one into any index.
    let name: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(33 + (state >> 24) as u8 % 90)
    })
    .take(2_000)
    .collect();

    let appended = store.append_to_stream(&name, &[RawEvent::new("X", json!({}))])?;

    assert_eq!(appended.next_expected_version, 1);
    assert!(store.stream_exists(&name)?);
    Ok(())
}

#[test]
fn collections_and_documents_of_any_names_are_kept_exactly() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    for name in NASTY
        .iter()
        .filter(|name| !name.chars().any(char::is_control))
    {
        let documents = store.collection::<Value>(name);
        let document = json!({"_id": name, "field.with": 1, *name: {"inner": name}});
        documents.insert_one(&document)?;

        let found = documents
            .find_one(json!({"_id": name}))?
            .expect("the document");
        assert_eq!(found[*name]["inner"], *name, "{name}");
        assert_eq!(documents.delete_many(json!({"_id": name}))?, 1, "{name}");
    }
    for name in [
        "",
        "nul\0",
        "line\nbreak",
        &"x".repeat(64),
        "emt_streams",
        "emt_messages_emt_default_active",
    ] {
        let refused = store.collection::<Value>(name).find_one(json!({}));
        assert!(refused.is_err(), "{name:?}: {refused:?}");
    }
    Ok(())
}

#[test]
fn projections_of_any_names_and_document_ids_are_kept_exactly() -> anyhow::Result<()> {
    for name in NASTY
        .iter()
        .filter(|name| !name.chars().any(char::is_control))
    {
        let database = database();
        let projection = DocumentProjection::single_stream(
            *name,
            |_: Option<Value>, recorded: &Recorded<RawEvent>| {
                Some(json!({"type": recorded.message_type}))
            },
        );
        let store = EventStore::builder(database.url())
            .inline_projection(projection)
            .open()?;

        store.append_to_stream(name, &[RawEvent::new(*name, json!({}))])?;

        let document = store
            .collection::<Value>(name)
            .find_one(json!({"_id": name}))?
            .expect("the document");
        assert_eq!(document["type"], *name);
    }
    Ok(())
}

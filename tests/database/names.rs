//! Hostile names and values are stored and read back exactly, or refused before anything is sent.

use crate::support::{database, store};
use emmett_postgresql::pongo;
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    AppendOptions, DocumentProjection, Error, EventStore, EventStoreBuilder, FeedOptions,
    NewMessage, RawEvent, ReadOptions, Recorded, Result, SqlProjection, StreamMessages,
    error::ProjectionError,
    operations::{ExportOptions, ImportOptions},
};
use postgres::NoTls;
use r2d2_postgres::PostgresConnectionManager;
use serde_json::{Map, Value, json};
use std::time::Duration;

const ODD: &[&str] = &[
    "O'Brien",
    "''",
    "\"quoted\"",
    "back\\slash\\",
    "\\N",
    "'); DROP TABLE emt_messages; --",
    "\"; DROP TABLE emt_streams; --",
    "$$",
    "$1",
    "$sql$",
    "%I %L %s %%",
    "{schema}.{streams_active}{table}",
    "{a,\"b\",NULL}",
    "NULL",
    " spaces  around ",
    "/* comment */ -- and another",
    "tab\tline\nreturn\rbell\u{7}delete\u{7f}",
    "-",
    "--",
    "Größe-ß",
    "e\u{301}",
    "é",
    "😀👩\u{200d}👩\u{200d}👧\u{200d}👦-🏳️\u{200d}🌈",
    "مرحبا \u{202e}abc\u{202c}",
    "漢字-仮名",
    "\u{feff}\u{fffe}\u{ffff}\u{10ffff}",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
];

/// And a long one.
fn odd_names() -> Vec<String> {
    let long = "Ünï'\"\\-".chars().cycle().take(300).collect();
    ODD.iter()
        .map(|&name| name.to_owned())
        .chain([long])
        .collect()
}

/// Longer than an index entry of PostgreSQL, and not to be compressed into one.
fn too_long() -> String {
    let mut number = 1_u32;
    let letters = std::iter::repeat_with(|| {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + u8::try_from((number >> 24) % 26).expect("a small number"))
    });
    letters.take(10_000).collect()
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug, E: Into<Error>>(result: Result<T, E>, reason: &str) {
    match result.map_err(E::into) {
        Err(Error::InvalidInput { reason: found, .. }) if found.contains(reason) => {}
        other => panic!("expected \"{reason}\", got {other:?}"),
    }
}

fn event(value: &str) -> RawEvent {
    RawEvent::new("Noted", json!({ value: value }))
}

/// A store without a database, so that whatever is refused is refused without it.
fn cut_off() -> anyhow::Result<EventStore> {
    let nobody_listens = "host=127.0.0.1 port=1 user=none".parse()?;
    let manager = PostgresConnectionManager::new(nobody_listens, NoTls);
    let pool = r2d2::Pool::builder()
        .min_idle(Some(0))
        .connection_timeout(Duration::from_millis(100))
        .build_unchecked(manager);
    Ok(EventStoreBuilder::with_pool(pool).open_unchecked()?)
}

#[test]
fn streams_of_any_name_are_stored_and_found() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let names = odd_names();

    for name in &names {
        store.append_to_stream(name, &[event(name)])?;
        let streams = vec![StreamMessages::new(name, &[event(name)])?];
        store.append_to_streams(streams)?;
        let metadata = Map::from_iter([(name.clone(), Value::from(name.as_str()))]);
        assert!(store.set_stream_metadata(name, &metadata)?);
        assert_eq!(store.stream_metadata(name)?, Some(metadata));
    }
    for name in &names {
        assert_eq!(store.archive_stream(name)?, Some(2));
        assert!(!store.stream_exists(name)?);
        assert_eq!(store.unarchive_stream(name)?, Some(2));
    }

    for name in &names {
        for options in [
            ReadOptions::new(),
            ReadOptions::new().max_count(9).include_archived(),
        ] {
            let read = store.read_stream_with::<RawEvent>(name, options)?;
            assert_eq!(read.events.len(), 2, "{name}");
            assert!(
                read.events
                    .iter()
                    .all(|one| one.event == event(name) && *one.stream_name == **name)
            );
        }
    }
    let feed = store.read_all::<RawEvent>(FeedOptions::new());
    let streams = feed
        .map(|recorded| Ok(recorded?.stream_name.to_string()))
        .collect::<Result<Vec<_>>>()?;
    assert_eq!(
        streams,
        names
            .iter()
            .flat_map(|name| [name.clone(), name.clone()])
            .collect::<Vec<_>>()
    );
    Ok(())
}

#[test]
fn stream_names_that_cannot_be_stored_are_refused_before_anything_is_sent() -> anyhow::Result<()> {
    let store = cut_off()?;

    for (name, reason) in [
        (String::new(), "must not be empty"),
        ("a\0b".to_owned(), "must not contain the character U+0000"),
        (
            "a".repeat(2001),
            "must not be longer than 2000 bytes, has 2001",
        ),
        (
            "ü".repeat(1001),
            "must not be longer than 2000 bytes, has 2002",
        ),
    ] {
        assert_invalid(store.append_to_stream(&name, &[event("a")]), reason);
        assert_invalid(StreamMessages::new(&name, &[event("a")]), reason);
    }

    Ok(())
}

#[test]
fn the_longest_stream_name_is_stored() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.tenants().add(&"😀".repeat(41))?;
    let name = &too_long()[..2000];

    for store in [&store, &store.tenant(&"😀".repeat(41))?] {
        store.append_to_stream(name, &[event("a")])?;
        assert_eq!(store.read_stream::<RawEvent>(name)?.current_version, 1);
    }

    Ok(())
}

#[test]
fn names_that_only_look_the_same_are_different_streams() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let alike = [
        "é",
        "e\u{301}",
        "É",
        "e",
        "e ",
        " e",
        "ｅ",
        "е",
        "e\u{200b}",
    ];

    for (count, name) in (1..).zip(alike) {
        store.append_to_stream(name, &vec![event(name); count])?;
    }

    for (count, name) in (1..).zip(alike) {
        assert_eq!(
            store.read_stream::<RawEvent>(name)?.current_version,
            count,
            "{name:?}"
        );
    }
    Ok(())
}

#[test]
fn message_types_ids_and_metadata_are_kept_exactly() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    for text in odd_names() {
        let message = || {
            NewMessage::new(RawEvent::new(
                text.as_str(),
                json!({ text.as_str(): [text.as_str()] }),
            ))
            .message_id(text.as_str())
            .correlation_id(text.as_str())
            .causation_id(text.as_str())
            .metadata(text.as_str(), text.as_str())
        };
        let options = || AppendOptions::new().metadata(format!("shared {text}"), text.as_str());
        store.append_to_stream_with("Note-1", &[message()], options())?;
        let repeated = store.append_to_stream_with("Note-1", &[message()], options())?;
        assert!(repeated.already_appended, "{text:?}");

        let last = ReadOptions::new().backwards().max_count(1);
        let read = store.read_stream_with::<RawEvent>("Note-1", last)?;
        let recorded = &read.events[0];
        assert_eq!(
            recorded.event,
            RawEvent::new(text.as_str(), json!({ text.as_str(): [text.as_str()] }))
        );
        assert_eq!(
            (recorded.message_type.as_str(), recorded.message_id.as_str()),
            (&*text, &*text)
        );
        let causes = [&recorded.correlation_id, &recorded.causation_id];
        assert_eq!(causes, [&Some(text.clone()), &Some(text.clone())]);
        let metadata = json!({ text.as_str(): text, format!("shared {text}"): text });
        assert_eq!(Value::from(recorded.metadata.clone()), metadata);
    }
    Ok(())
}

#[test]
fn messages_that_cannot_be_stored_are_refused_before_anything_is_sent() -> anyhow::Result<()> {
    let store = cut_off()?;
    let plain = || NewMessage::new(event("a"));

    for (message, reason) in [
        (
            NewMessage::new(RawEvent::new("", json!({}))),
            "must not be empty",
        ),
        (NewMessage::new(RawEvent::new("a\0", json!({}))), "U+0000"),
        (plain().message_id(""), "must not be empty"),
        (plain().message_id("a\0"), "U+0000"),
        (plain().correlation_id("\0"), "U+0000"),
        (plain().causation_id(""), "must not be empty"),
        (
            plain().metadata("messageId", "a"),
            "the store uses this name itself",
        ),
    ] {
        assert_invalid(store.append_to_stream("Note-1", &[message]), reason);
    }

    for message in [event("a\0"), RawEvent::new("Noted", json!({ "a\0": 1 }))] {
        let refused = store.append_to_stream("Note-1", &[message]);
        assert!(matches!(refused, Err(Error::Encode { .. })), "{refused:?}");
    }
    let refused = store.append_to_stream("Note-1", &[plain().metadata("a", "\0")]);
    assert!(matches!(refused, Err(Error::Encode { .. })), "{refused:?}");
    Ok(())
}

#[test]
fn tenants_of_any_name_keep_their_events() -> anyhow::Result<()> {
    let (database, store) = store()?;

    for name in odd_names() {
        if name.chars().count() > 41 {
            assert_invalid(store.tenants().add(&name), "must have 1 to 41 characters");
            continue;
        }
        assert!(store.tenants().add(&name)?, "{name:?}");
        assert_eq!(store.tenants().list()?[0].name, name);
        let tenant = store.tenant(&name)?;
        tenant.append_to_stream(&name, &[event(&name)])?;
        let log = b"{\"streamName\":\"a\",\"type\":\"b\",\"data\":{}}";
        assert_eq!(tenant.import(&log[..], ImportOptions::new())?.imported, 1);
        tenant
            .collection::<Value>("notes")
            .insert_one(&json!({ "_id": name }))?;
        tenant.archive_stream(&name)?;
        assert_eq!(tenant.read_all::<RawEvent>(FeedOptions::new()).count(), 2);
        let removal = store.tenants().remove(&name)?;
        assert_eq!((removal.streams, removal.messages), (2, 2));
        removal.with_all_data()?;
        // Its tables stay, so the next name needs others.
        forget_tenants(&database)?;
    }
    Ok(())
}

/// Drops the empty tables that removed tenants have left.
fn forget_tenants(database: &Database) -> anyhow::Result<()> {
    let mut client = database.client()?;
    let left = client.query(
        "SELECT inhrelid::REGCLASS::TEXT FROM pg_inherits
          WHERE inhparent::REGCLASS::TEXT IN ('emt_streams', 'emt_messages', 'emt_projections')
            AND inhrelid::REGCLASS::TEXT !~ '_emt_default$'",
        &[],
    )?;
    for table in left {
        client.batch_execute(&format!("DROP TABLE {}", table.get::<_, String>(0)))?;
    }
    Ok(())
}

#[test]
fn collections_of_any_name_keep_documents_of_any_id() -> anyhow::Result<()> {
    let (_database, store) = store()?;

    for name in odd_names() {
        let collection = store.collection::<Value>(&name);
        if name.len() > 63 {
            assert_invalid(
                collection.count_documents(json!({})),
                "must have 1 to 63 bytes",
            );
            continue;
        }
        if name.chars().any(char::is_control) {
            assert_invalid(
                collection.count_documents(json!({})),
                "must not contain control characters",
            );
            continue;
        }
        keep_odd_documents(&store, &name)?;
    }

    for (name, reason) in [
        ("", "must have 1 to 63 bytes"),
        ("a\0", "control characters"),
    ] {
        assert_invalid(
            store.collection::<Value>(name).insert_one(&json!({})),
            reason,
        );
        assert_invalid(
            store.collection::<Value>(name).find(json!({})).to_vec(),
            reason,
        );
        assert_invalid(
            store.collection::<Value>(name).delete_many(json!({})),
            reason,
        );
    }
    assert_eq!(store.read_all::<RawEvent>(FeedOptions::new()).count(), 0);
    Ok(())
}

fn keep_odd_documents(store: &EventStore, name: &str) -> anyhow::Result<()> {
    let collection = store.collection::<Value>(name);
    let ids = odd_names();
    for id in &ids {
        let document = json!({ "_id": id, "value": id, "nested": { id.as_str(): id } });
        assert_eq!(collection.insert_one(&document)?.id, *id);
        let again = collection.insert_one(&document);
        assert!(matches!(again, Err(pongo::Error::Exists { id: found, .. }) if found == *id));
    }
    for id in &ids {
        let found = collection
            .find_one(json!({ "_id": id }))?
            .unwrap_or_default();
        assert_eq!(
            (&found["value"], &found["nested"][id.as_str()]),
            (&json!(id), &json!(id))
        );
        assert_eq!(collection.count_documents(json!({ "value": id }))?, 1);
        assert_eq!(
            collection.count_documents(json!({ "value": { "$in": [id] } }))?,
            1
        );
        assert_eq!(collection.delete_many(json!({ "_id": id }))?, 1);
    }
    assert_eq!(collection.count_documents(json!({}))?, 0);
    Ok(())
}

#[test]
fn documents_that_cannot_be_stored_are_refused_before_anything_is_sent() -> anyhow::Result<()> {
    let store = cut_off()?;
    let notes = store.collection::<Value>("notes");

    for (id, reason) in [
        (json!(""), "must not be empty"),
        (json!(too_long()), "must not be longer than 2000 bytes"),
        (json!(7), "must be a string"),
    ] {
        assert_invalid(notes.insert_one(&json!({ "_id": id })), reason);
    }

    for document in [
        json!({ "_id": "a\0" }),
        json!({ "a\0": 1 }),
        json!({ "a": "\0" }),
    ] {
        let refused = notes.insert_one(&document);
        assert!(
            matches!(refused, Err(pongo::Error::Json { .. })),
            "{refused:?}"
        );
    }
    let refused = notes.find(json!({ "a": "\0" })).to_vec();
    assert!(
        matches!(refused, Err(pongo::Error::Filter(_))),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn filters_with_odd_field_names_are_no_sql() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let notes = store.collection::<Value>("notes");
    notes.insert_one(&json!({ "_id": "a", "O'Brien": 1, "\"": 2, "b\\": 3, "😀": 4 }))?;

    for name in odd_names() {
        for filter in [
            json!({ name.as_str(): 1 }),
            json!({ name.as_str(): { "$exists": true } }),
        ] {
            let outcome = notes.count_documents(filter);
            let refused = matches!(
                outcome,
                Err(pongo::Error::Filter(_) | pongo::Error::InvalidInput { .. })
            );
            assert!(refused || outcome.is_ok(), "{name:?}: {outcome:?}");
        }
        let sorted = notes
            .find(json!({}))
            .sort(json!({ name.as_str(): 1 }))
            .to_vec();
        assert!(
            matches!(sorted, Ok(_) | Err(pongo::Error::Filter(_))),
            "{name:?}: {sorted:?}"
        );
    }

    for (name, value) in [("O'Brien", 1), ("\"", 2), ("b\\", 3), ("😀", 4)] {
        assert_eq!(notes.count_documents(json!({ name: value }))?, 1, "{name}");
    }
    Ok(())
}

#[test]
fn projections_of_any_name_are_registered_and_run() -> anyhow::Result<()> {
    let database = database();

    for name in odd_names() {
        let projection =
            SqlProjection::new(name.as_str(), |events: &[Recorded<RawEvent>], context| {
                let text = &events[0].message_type;
                let rows = context.query("SELECT $1::TEXT", &[text])?;
                anyhow::ensure!(rows[0].get::<_, String>(0) == *text);
                Ok(())
            })
            // The events of the other names are no history of it.
            .can_handle(&[&name]);
        let store = EventStore::builder(database.url())
            .inline_projection(projection)
            .open()?;
        store.append_to_stream(&name, &[RawEvent::new(name.as_str(), json!({}))])?;
        let rows = database
            .client()?
            .query("SELECT FROM emt_projections WHERE name = $1", &[&name])?;
        assert_eq!(rows.len(), 1, "{name:?}");
    }
    Ok(())
}

#[test]
fn projections_whose_name_cannot_be_stored_are_refused_when_the_store_is_opened() {
    let nobody_listens = "postgresql://127.0.0.1:1/none";
    let open = |name: &str| {
        let projection = SqlProjection::new(name, |_: &[Recorded<RawEvent>], _| Ok(()));
        EventStore::builder(nobody_listens)
            .inline_projection(projection)
            .open()
    };

    assert_invalid(open(""), "must not be empty");
    assert_invalid(open("a\0"), "U+0000");
    assert_invalid(open(&too_long()), "must not be longer than 2000 bytes");
}

#[test]
fn documents_of_projections_have_ids_of_any_kind() -> anyhow::Result<()> {
    let database = database();
    let notes = DocumentProjection::multi_stream(
        "notes",
        |recorded: &Recorded<RawEvent>| recorded.event.data["id"].as_str().map(str::to_owned),
        |_: Option<Value>, recorded| Some(recorded.event.data.clone()),
    );
    let store = EventStore::builder(database.url())
        .inline_projection(notes)
        .open()?;
    let about = |id: &str| RawEvent::new("Noted", json!({ "id": id }));

    for id in odd_names() {
        store.append_to_stream("Note-1", &[about(&id)])?;
        let found = store
            .collection::<Value>("notes")
            .find_one(json!({ "_id": id }))?;
        assert_eq!(found.unwrap_or_default()["id"], id);
    }

    for (id, reason) in [
        ("", "must not be empty"),
        (&too_long(), "must not be longer than 2000 bytes"),
    ] {
        let refused = store.append_to_stream("Note-2", &[about(id)]);
        let Err(Error::Projection(ProjectionError::Failed { source, .. })) = refused else {
            panic!("{refused:?}")
        };
        assert!(source.to_string().contains(reason), "{source}");
    }
    assert!(!store.stream_exists("Note-2")?);
    Ok(())
}

#[test]
fn imports_of_any_name_are_remembered_and_odd_logs_come_back_exactly() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for name in odd_names() {
        let message = NewMessage::new(RawEvent::new(name.as_str(), json!({ name.as_str(): name })))
            .metadata(&*name, &*name);
        store.append_to_stream(&name, &[message.message_id(&*name)])?;
    }
    let mut log = Vec::new();
    store.export(&mut log, ExportOptions::new().positions(false))?;

    for name in odd_names() {
        store.tenants().add("copy")?;
        let copy = store.tenant("copy")?;
        let first = copy.import(&log[..], ImportOptions::new().name(name.as_str()))?;
        let second = copy.import(&log[..], ImportOptions::new().name(name.as_str()))?;
        let mut copied = Vec::new();
        copy.export(&mut copied, ExportOptions::new().positions(false))?;
        assert_eq!(
            (first.skipped, second.imported, copied == log),
            (0, 0, true),
            "{name:?}"
        );
        store.tenants().remove("copy")?.with_all_data()?;
    }
    Ok(())
}

#[test]
fn import_names_that_cannot_be_stored_are_refused_before_anything_is_sent() -> anyhow::Result<()> {
    let store = cut_off()?;
    let import = |name: &str| store.import(&b"{}"[..], ImportOptions::new().name(name));

    assert_invalid(import(""), "must not be empty");
    assert_invalid(import("a\0"), "U+0000");
    assert_invalid(import(&too_long()), "must not be longer than 2000 bytes");
    Ok(())
}

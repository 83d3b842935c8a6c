//! Appends that are refused before anything is sent, and appends with a wrong expected version.

use crate::database::connections::proxy::Proxy;
use crate::support::{CartEvent, added, database, quiet, store};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    AppendOptions, Error, Event, EventStore, ExpectedVersion, NewMessage, RawEvent, StreamMessages,
    events::Appendable,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Serialize, Deserialize)]
enum Measured {
    Temperature { celsius: f64 },
    Series(Vec<f32>),
    Anything(Value),
}

impl Event for Measured {}

/// A store that sends everything through a proxy.
struct Watched {
    _database: Database,
    proxy: Proxy,
    store: EventStore,
}

impl Watched {
    fn open() -> anyhow::Result<Self> {
        let database = database();
        let proxy = Proxy::to(&database)?;
        Ok(Self {
            store: quiet(proxy.url()).open()?,
            proxy,
            _database: database,
        })
    }

    /// Asserts that the append is refused, with these words, and that the server does not hear of it.
    fn assert_refused<A: Appendable>(&self, message: A, words: &str) {
        let (outcome, turns) = self
            .proxy
            .count(|| self.store.append_to_stream("Cart-1", &[message]));

        let error = outcome.expect_err(words);
        let text = format!("{:#}", anyhow::Error::from(error));
        assert!(text.contains(words), "{text}");
        assert_eq!(turns, 0, "{text}");
    }
}

#[test]
fn numbers_that_json_does_not_have_are_refused() -> anyhow::Result<()> {
    let watched = Watched::open()?;
    for celsius in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        watched.assert_refused(
            Measured::Temperature { celsius },
            "`celsius` is NaN or infinite",
        );
    }
    watched.assert_refused(Measured::Series(vec![1.0, f32::NAN]), "NaN or infinite");
    Ok(())
}

#[test]
fn nesting_that_could_not_be_read_again_is_refused() -> anyhow::Result<()> {
    let watched = Watched::open()?;
    let too_deep = (0..128).fold(json!(1), |inner, _| json!([inner]));

    watched.assert_refused(
        Measured::Anything(too_deep.clone()),
        "deeper than 127 levels",
    );
    watched.assert_refused(RawEvent::new("Deep", too_deep), "deeper than 127 levels");
    Ok(())
}

#[test]
fn the_character_that_postgresql_cannot_store_is_refused_everywhere() -> anyhow::Result<()> {
    let watched = Watched::open()?;
    let event = || RawEvent::new("Noted", json!({}));
    let words = "U+0000";
    watched.assert_refused(RawEvent::new("Noted", json!({"a": "x\0"})), words);
    watched.assert_refused(RawEvent::new("Noted", json!({"x\0": 1})), words);
    watched.assert_refused(RawEvent::new("Not\0ed", json!({})), words);
    watched.assert_refused(NewMessage::new(event()).message_id("\0"), words);
    watched.assert_refused(NewMessage::new(event()).correlation_id("\0"), words);
    watched.assert_refused(NewMessage::new(event()).causation_id("\0"), words);
    watched.assert_refused(NewMessage::new(event()).metadata("name", "\0"), words);
    watched.assert_refused(NewMessage::new(event()).metadata("\0", 1), words);
    Ok(())
}

#[test]
fn empty_ids_and_types_are_refused() -> anyhow::Result<()> {
    let watched = Watched::open()?;
    let event = || RawEvent::new("Noted", json!({}));
    watched.assert_refused(RawEvent::new("", json!({})), "must not be empty");
    watched.assert_refused(NewMessage::new(event()).message_id(""), "must not be empty");
    watched.assert_refused(
        NewMessage::new(event()).correlation_id(""),
        "must not be empty",
    );
    Ok(())
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum InternallyTagged {
    Happened { at: u8 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum AdjacentlyTagged {
    Happened { at: u8 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Happened { at: u8 },
}

#[derive(Debug, Serialize, Deserialize)]
struct NoEnum {
    at: u8,
}

impl Event for InternallyTagged {}
impl Event for AdjacentlyTagged {}
impl Event for Untagged {}
impl Event for NoEnum {}

#[test]
fn other_representations_of_an_enum_are_refused_with_the_remedy() -> anyhow::Result<()> {
    let watched = Watched::open()?;
    let remedy = "derive Serialize and Deserialize on an enum with serde's default";
    watched.assert_refused(InternallyTagged::Happened { at: 1 }, remedy);
    watched.assert_refused(AdjacentlyTagged::Happened { at: 1 }, remedy);
    watched.assert_refused(Untagged::Happened { at: 1 }, remedy);
    watched.assert_refused(NoEnum { at: 1 }, remedy);
    Ok(())
}

#[test]
fn other_representations_of_an_enum_are_refused_when_reading() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[RawEvent::new("Happened", json!({"at": 1}))])?;
    let errors = [
        store.read_stream::<InternallyTagged>("Cart-1").err(),
        store.read_stream::<AdjacentlyTagged>("Cart-1").err(),
        store.read_stream::<Untagged>("Cart-1").err(),
        store.read_stream::<NoEnum>("Cart-1").err(),
    ];

    for error in errors {
        let text = error.map(|error| format!("{:#}", anyhow::Error::from(error)));
        assert!(
            text.as_ref().is_some_and(|text| text.contains("default")),
            "{text:?}"
        );
    }
    Ok(())
}

#[test]
fn an_append_without_messages_is_refused() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let none: [CartEvent; 0] = [];

    let single = store.append_to_stream("Cart-1", &none).err();
    let several = StreamMessages::new("Cart-1", &none).err();
    let of_a_session = store
        .with_session(|session| Ok(session.append_to_stream("Cart-1", &none)?))
        .err();

    for refused in [single, several, of_a_session] {
        assert!(
            matches!(&refused, Some(Error::InvalidInput { what, .. }) if what.contains("Cart-1")),
            "{refused:?}"
        );
    }
    assert_eq!(store.append_to_streams(Vec::new())?, []);
    assert!(!store.stream_exists("Cart-1")?);
    Ok(())
}

#[test]
fn a_version_that_the_stream_does_not_have_is_refused_with_the_one_it_has() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("a", 1), added("b", 1)])?;
    let missing = [
        ExpectedVersion::Exists,
        ExpectedVersion::Exact(1),
        ExpectedVersion::Exact(u64::MAX),
    ];
    let existing = [
        ExpectedVersion::DoesNotExist,
        ExpectedVersion::Exact(0),
        ExpectedVersion::Exact(1),
        ExpectedVersion::Exact(3),
        ExpectedVersion::Exact(i64::MAX as u64),
        ExpectedVersion::Exact(u64::MAX),
    ];
    let cases = missing
        .map(|expected| ("Cart-2", expected, 0))
        .into_iter()
        .chain(existing.map(|expected| ("Cart-1", expected, 2)));

    for (stream, expected, version) in cases {
        let options = AppendOptions::new().expect(expected);
        let error = store
            .append_to_stream_with(stream, &[added("c", 1)], options)
            .expect_err("refused");

        assert!(error.is_conflict() && !error.is_retryable());
        let found = format!("stream \"{stream}\" is at version {version}, expected {expected}");
        assert_eq!(error.to_string(), found);
    }
    assert_eq!(store.read_stream::<CartEvent>("Cart-1")?.current_version, 2);
    assert!(!store.stream_exists("Cart-2")?);
    Ok(())
}

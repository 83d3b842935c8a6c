//! Reading events of older and newer programs.

use crate::support::store;
use emmett_postgresql::{Error, Event, EventStore, FeedOptions, RawEvent, events::StoredEvent};
use serde::{Deserialize, Serialize};
use serde_json::json;

fn append(store: &EventStore, event_type: &str, data: serde_json::Value) -> anyhow::Result<()> {
    store.append_to_stream("Cart-1", &[RawEvent::new(event_type, data)])?;
    Ok(())
}

fn read<E: Event>(store: &EventStore) -> Result<Vec<E>, Error> {
    let read = store.read_stream::<E>("Cart-1")?;
    Ok(read
        .events
        .into_iter()
        .map(|recorded| recorded.event)
        .collect())
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Aliased {
    #[serde(alias = "Confirmed", alias = "cart-confirmed")]
    CartConfirmed {
        #[serde(alias = "client_id")]
        client: String,
        #[serde(default)]
        note: String,
    },
}

impl Event for Aliased {}

#[test]
fn aliases_read_old_names_and_defaults_fill_what_is_missing() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    for (name, data) in [
        ("CartConfirmed", json!({"client": "anna", "gone": [1]})),
        ("Confirmed", json!({"client_id": "anna"})),
        ("cart-confirmed", json!({"client": "anna"})),
    ] {
        append(&store, name, data)?;
    }

    let events = read::<Aliased>(&store)?;
    let fed = store.read_all::<Aliased>(FeedOptions::new()).count();

    let expected = || Aliased::CartConfirmed {
        client: "anna".into(),
        note: String::new(),
    };
    assert_eq!(events, [expected(), expected(), expected()]);
    assert_eq!(fed, 3, "the feed does not filter aliases out");
    Ok(())
}

#[test]
fn a_type_that_the_enum_does_not_know_is_an_error_that_names_type_stream_and_version()
-> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store, "CartConfirmed", json!({"client": "anna"}))?;
    append(&store, "CartAbandoned", json!({}))?;

    let error = read::<Aliased>(&store).expect_err("it is unknown");

    assert!(
        matches!(&error, Error::Decode { stream, version: 2, message_type, .. }
        if stream == "Cart-1" && message_type == "CartAbandoned")
    );
    let text = format!("{:#}", anyhow::Error::from(error));
    assert_eq!(
        text,
        "message 2 of stream \"Cart-1\", type \"CartAbandoned\", cannot be read: \
         the message type `CartAbandoned` is unknown"
    );
    Ok(())
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tolerant {
    CartConfirmed {
        client: String,
    },
    #[serde(other)]
    SomethingElse,
}

impl Event for Tolerant {}

#[test]
fn a_variant_for_others_reads_every_unknown_type() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store, "CartAbandoned", json!({"why": "bored"}))?;
    append(&store, "CartConfirmed", json!({"client": "anna"}))?;

    let events = read::<Tolerant>(&store)?;
    let fed = store.read_all::<Tolerant>(FeedOptions::new()).count();

    assert_eq!(
        events,
        [
            Tolerant::SomethingElse,
            Tolerant::CartConfirmed {
                client: "anna".into()
            }
        ]
    );
    assert_eq!(fed, 2);
    Ok(())
}

/// The first version had a price in cents, and called the confirmation otherwise.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Current {
    Priced { amount: f64, currency: String },
    Confirmed { by: String },
}

impl Event for Current {
    const SCHEMA_VERSION: u32 = 2;
    const FORMER_TYPES: &'static [&'static str] = &["Completed"];

    fn upcast(mut stored: StoredEvent) -> anyhow::Result<Vec<RawEvent>> {
        if stored.event_type == "Completed" {
            stored.event_type = "Confirmed".into();
        } else if stored.event_type == "Priced" && stored.schema_version == 1 {
            let cents = stored.data["cents"].as_f64();
            let cents = cents.ok_or_else(|| anyhow::anyhow!("it has no price"))?;
            stored.data = json!({"amount": cents / 100.0, "currency": "EUR"});
        }
        Ok(vec![stored.into()])
    }
}

#[test]
fn a_stored_event_of_an_older_version_is_upcast() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let current = || Current::Priced {
        amount: 5.0,
        currency: "USD".into(),
    };
    append(&store, "Priced", json!({"cents": 150}))?;
    store.append_to_stream("Cart-1", &[current()])?;

    let stream = store.read_stream::<Current>("Cart-1")?;

    let versions: Vec<_> = stream
        .events
        .iter()
        .map(|recorded| recorded.schema_version)
        .collect();
    assert_eq!(versions, [1, 2]);
    let events: Vec<_> = stream
        .events
        .into_iter()
        .map(|recorded| recorded.event)
        .collect();
    assert_eq!(
        events,
        [
            Current::Priced {
                amount: 1.5,
                currency: "EUR".into()
            },
            current()
        ]
    );
    Ok(())
}

#[test]
fn a_former_type_is_upcast_whatever_its_version_in_stream_feed_and_fold() -> anyhow::Result<()> {
    let (database, store) = store()?;
    append(&store, "Completed", json!({"by": "anna"}))?;
    append(&store, "Completed", json!({"by": "anna"}))?;
    database.client()?.batch_execute(
        "UPDATE emt_messages SET message_schema_version = '2' WHERE stream_position = 2",
    )?;

    let events = read::<Current>(&store)?;
    let fed: Vec<_> = store
        .read_all::<Current>(FeedOptions::new())
        .map(|recorded| recorded.map(|recorded| recorded.event))
        .collect::<Result<_, _>>()?;
    let folded = store.aggregate_stream("Cart-1", Vec::new, |mut all, event: Current| {
        all.push(event);
        all
    })?;

    let confirmed = || Current::Confirmed { by: "anna".into() };
    assert_eq!(events, [confirmed(), confirmed()]);
    assert_eq!(
        (fed, folded.state),
        (
            vec![confirmed(), confirmed()],
            vec![confirmed(), confirmed()]
        )
    );
    Ok(())
}

#[test]
fn an_upcast_that_fails_is_an_error_that_names_type_stream_and_version() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store, "Priced", json!({"cents": 150}))?;
    append(&store, "Priced", json!({"dollars": 1}))?;

    let error = read::<Current>(&store).expect_err("the hook refuses it");

    assert!(matches!(&error, Error::Upcast { version: 2, .. }));
    let text = format!("{:#}", anyhow::Error::from(error));
    assert_eq!(
        text,
        "message 2 of stream \"Cart-1\", type \"Priced\", cannot be upcast: it has no price"
    );
    Ok(())
}

#[test]
fn an_upcast_to_a_type_that_does_not_exist_is_an_error() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    append(&store, "Removed", json!({}))?;

    let error = read::<Current>(&store).expect_err("no such variant");

    assert!(
        matches!(&error, Error::Decode { message_type, .. } if message_type == "Removed"),
        "{error:?}"
    );
    Ok(())
}

#[test]
fn schema_versions_are_read_as_emmett_writes_them() -> anyhow::Result<()> {
    let (database, store) = store()?;
    append(&store, "Priced", json!({"cents": 150}))?;
    let mut client = database.client()?;
    for (text, version) in [("1", 1), ("'1'", 1), ("\"1\"", 1), ("'2'", 2)] {
        client.execute(
            "UPDATE emt_messages SET message_schema_version = $1",
            &[&text],
        )?;

        let recorded = store.read_stream::<RawEvent>("Cart-1")?.events.remove(0);

        assert_eq!(recorded.schema_version, version, "{text}");
    }
    client.batch_execute("UPDATE emt_messages SET message_schema_version = '''1'''")?;
    assert_eq!(
        read::<Current>(&store)?,
        [Current::Priced {
            amount: 1.5,
            currency: "EUR".into()
        }]
    );
    Ok(())
}

//! Messages are read back as they were appended: every kind of variant, every character, every number.

use crate::support::store;
use emmett_postgresql::testing::Database;
use emmett_postgresql::{Error, Event, EventStore, RawEvent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Shape {
    UnitVariant,
    NewtypeVariant(Parcel),
    NewtypeOfText(String),
    NewtypeOfOption(Option<u8>),
    TupleVariant(u8, String),
    StructVariant {
        parcel_id: u8,
        #[serde(rename = "w")]
        weight: f64,
    },
    EmptyStruct {},
    #[serde(rename = "renamed-variant")]
    Renamed {
        at: u8,
    },
    Flattened {
        at: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    },
    Numbers {
        numbers: Numbers,
    },
    Text {
        text: String,
    },
    Keys(BTreeMap<String, u8>),
    Nested(Value),
}

impl Event for Shape {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Parcel {
    size: u8,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Numbers {
    signed: Vec<i64>,
    unsigned: Vec<u64>,
    wide: Vec<i128>,
    wide_unsigned: Vec<u128>,
    floats: Vec<f64>,
    small_floats: Vec<f32>,
}

/// The event as it is read again.
fn round_trip(store: &EventStore, event: &Shape) -> anyhow::Result<Shape> {
    let stream = format!("Shape-{}", uuid(store)?);
    store.append_to_stream(&stream, std::slice::from_ref(event))?;
    let mut read = store.read_stream::<Shape>(&stream)?;
    Ok(read.events.remove(0).event)
}

/// A name that no stream has yet.
fn uuid(store: &EventStore) -> anyhow::Result<String> {
    store
        .with_session(|session| {
            let rows = session.query("SELECT gen_random_uuid()::TEXT", &[])?;
            Ok(rows[0].try_get(0)?)
        })
        .map_err(Into::into)
}

fn stored(database: &Database) -> anyhow::Result<Vec<(String, Value)>> {
    let rows = database.client()?.query(
        "SELECT message_type, message_data FROM emt_messages ORDER BY global_position",
        &[],
    )?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

#[test]
fn every_kind_of_variant_is_stored_under_its_name_and_read_again() -> anyhow::Result<()> {
    let (database, store) = store()?;
    let rest = BTreeMap::from([("note".to_owned(), json!(["x", null]))]);
    let cases = [
        (Shape::UnitVariant, "unitVariant", json!({})),
        (
            Shape::NewtypeVariant(Parcel { size: 3 }),
            "newtypeVariant",
            json!({"size": 3}),
        ),
        (
            Shape::NewtypeOfText("a".into()),
            "newtypeOfText",
            json!("a"),
        ),
        (Shape::NewtypeOfOption(None), "newtypeOfOption", json!(null)),
        (Shape::NewtypeOfOption(Some(1)), "newtypeOfOption", json!(1)),
        (
            Shape::TupleVariant(1, "b".into()),
            "tupleVariant",
            json!([1, "b"]),
        ),
        (
            Shape::StructVariant {
                parcel_id: 1,
                weight: 0.5,
            },
            "structVariant",
            json!({"parcelId": 1, "w": 0.5}),
        ),
        (Shape::EmptyStruct {}, "emptyStruct", json!({})),
        (
            Shape::Renamed { at: 1 },
            "renamed-variant",
            json!({"at": 1}),
        ),
        (
            Shape::Flattened { at: 1, rest },
            "flattened",
            json!({"at": 1, "note": ["x", null]}),
        ),
    ];
    let events: Vec<_> = cases.iter().map(|(event, ..)| event.clone()).collect();

    store.append_to_stream("Shape-1", &events)?;

    let read = store.read_stream::<Shape>("Shape-1")?;
    let read: Vec<_> = read
        .events
        .into_iter()
        .map(|recorded| recorded.event)
        .collect();
    assert_eq!(read, events);
    let expected: Vec<_> = cases
        .into_iter()
        .map(|(_, name, data)| (name.to_owned(), data))
        .collect();
    assert_eq!(stored(&database)?, expected);
    Ok(())
}

#[test]
fn the_most_extreme_numbers_come_back_exactly() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let numbers = Shape::Numbers {
        numbers: Numbers {
            signed: vec![i64::MIN, -1, 0, i64::MAX],
            unsigned: vec![0, 1 << 53, (1 << 53) + 1, u64::MAX],
            wide: vec![i128::MIN, i128::MAX],
            wide_unsigned: vec![u128::MAX],
            floats: vec![
                f64::MAX,
                f64::MIN,
                f64::MIN_POSITIVE,
                f64::EPSILON,
                5e-324,
                0.1 + 0.2,
                1e23,
                -0.1,
                9_007_199_254_740_993.0,
                std::f64::consts::PI,
            ],
            small_floats: vec![f32::MAX, f32::MIN_POSITIVE, 0.1, 1e-45],
        },
    };

    let read = round_trip(&store, &numbers)?;

    assert_eq!(read, numbers);
    Ok(())
}

#[test]
fn every_character_but_u_0000_comes_back_in_values_keys_and_types() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    // The whole first plane, and of each other plane every 97th character and both ends.
    let plain = (1..=0xFFFF).chain(
        (0x1_0000..=0x10_FFFF)
            .filter(|code| code % 97 == 0 || code & 0xFFFF < 16 || code & 0xFFFF > 0xFFEF),
    );
    let all: String = plain.filter_map(char::from_u32).collect();
    let some: String = all.chars().step_by(331).collect();

    let text = Shape::Text { text: all.clone() };
    let keys = Shape::Keys(
        all.chars()
            .step_by(61)
            .map(|key| (key.to_string(), 1))
            .collect(),
    );
    let raw = RawEvent::new(some.clone(), json!({ some.clone(): some }));
    store.append_to_stream("Raw-1", std::slice::from_ref(&raw))?;

    assert!(round_trip(&store, &text)? == text);
    assert!(round_trip(&store, &keys)? == keys);
    assert!(store.read_stream::<RawEvent>("Raw-1")?.events[0].event == raw);
    Ok(())
}

#[test]
fn a_megabyte_in_one_event_and_a_thousand_events_in_one_append_come_back() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    // Text that does not compress, so that it takes its megabyte in the database, too.
    let mixed = (0_u32..262_144).map(|number| number.wrapping_mul(2_654_435_761) >> 16);
    let text = mixed.fold(String::new(), |text, number| {
        text + &format!("{number:04x}")
    });
    let large = Shape::Text { text };
    let many: Vec<_> = (0..1_000)
        .map(|number| Shape::Text {
            text: number.to_string(),
        })
        .collect();

    store.append_to_stream("Many-1", &many)?;

    assert!(round_trip(&store, &large)? == large);
    let read = store.read_stream::<Shape>("Many-1")?;
    assert!(read.events.iter().map(|recorded| &recorded.event).eq(&many));
    Ok(())
}

#[test]
fn the_deepest_nesting_that_can_be_read_is_stored_and_read() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let deepest = Shape::Nested((0..127).fold(json!(1), |inner, _| json!([inner])));

    let read = round_trip(&store, &deepest)?;

    assert_eq!(read, deepest);
    Ok(())
}

#[test]
fn a_raw_event_writes_and_reads_any_type() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    let contents = [
        json!({"b": 1, "a": [true, null]}),
        json!([]),
        json!("text"),
        json!(1.5),
        json!(null),
    ];
    let raw: Vec<_> = contents
        .into_iter()
        .map(|data| RawEvent::new("structVariant", data))
        .collect();
    let typed = Shape::StructVariant {
        parcel_id: 7,
        weight: 2.0,
    };
    store.append_to_stream("Raw-1", &raw)?;
    store.append_to_stream("Shape-1", std::slice::from_ref(&typed))?;
    store.append_to_stream(
        "Shape-2",
        &[RawEvent::new(
            "structVariant",
            json!({"parcelId": 7, "w": 2}),
        )],
    )?;

    let read_raw = store.read_stream::<RawEvent>("Raw-1")?;
    let read_typed = store.read_stream::<RawEvent>("Shape-1")?;
    let read_back = store.read_stream::<Shape>("Shape-2")?;

    assert!(
        read_raw
            .events
            .iter()
            .map(|recorded| &recorded.event)
            .eq(&raw)
    );
    assert_eq!(
        read_typed.events[0].event,
        RawEvent::new("structVariant", json!({"parcelId": 7, "w": 2.0}))
    );
    assert_eq!(read_back.events[0].event, typed);
    Ok(())
}

#[test]
fn content_that_does_not_fit_is_an_error_that_names_type_stream_and_version() -> anyhow::Result<()>
{
    let (_database, store) = store()?;
    let fitting = RawEvent::new("renamed-variant", json!({"at": 1}));
    let wrong = RawEvent::new("renamed-variant", json!({"at": "noon"}));
    store.append_to_stream("Shape-1", &[fitting, wrong])?;

    let error = store
        .read_stream::<Shape>("Shape-1")
        .expect_err("it does not fit");

    assert!(
        matches!(&error, Error::Decode { stream, version: 2, message_type, .. }
        if stream == "Shape-1" && message_type == "renamed-variant")
    );
    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(
        text.contains("\"Shape-1\"") && text.contains("\"renamed-variant\""),
        "{text}"
    );
    assert!(
        text.contains("message 2") && text.contains("invalid type"),
        "{text}"
    );
    Ok(())
}

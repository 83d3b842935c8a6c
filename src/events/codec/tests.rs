use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Debug};

use proptest::prelude::*;
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{KnownTypes, decode_event, encode_event, known_types};
use crate::error::{DecodeError, EncodeError};
use crate::json::JsonError;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Cart {
    Opened,
    #[serde(rename = "product-added", alias = "ProductAdded", alias = "ItemAdded")]
    Added {
        sku: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    Moved(i64, u64),
    Paid(Payment),
    Rated(Option<u8>),
    Emptied {},
    Cleared(),
    Wide(i128, u128),
    Counted(HashMap<i32, char>),
    Untyped(Value),
    Blob(Bytes),
    Ended(()),
    Noted {
        at: u32,
        #[serde(flatten)]
        rest: BTreeMap<String, String>,
    },
    Skipping {
        kept: bool,
        #[serde(skip)]
        cached: u8,
    },
    Hidden(#[serde(skip)] u8),
}

/// All of serde's representations, inside the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Payment {
    Cash,
    Card {
        method: Method,
        limit: Limit,
        detail: Detail,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Method {
    DebitCard { number: u64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Limit {
    Daily(f64),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Detail {
    Number(i64),
    Text(String),
}

#[derive(Debug, Clone, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Tolerant {
    FirstThing {
        id: u8,
    },
    #[serde(other)]
    SomethingElse,
}

fn encoded<E: Serialize + DeserializeOwned>(event: &E) -> (&'static str, String) {
    let encoded = encode_event(event).unwrap();
    (
        encoded.message_type,
        String::from_utf8(encoded.data).unwrap(),
    )
}

#[test]
fn encode_event_splits_name_and_content_and_decode_event_joins_them() {
    let text = str::to_owned;
    let cases = [
        (Cart::Opened, "Opened", "{}"),
        (
            Cart::Added {
                sku: text("a"),
                note: None,
            },
            "product-added",
            r#"{"sku":"a"}"#,
        ),
        (
            Cart::Added {
                sku: text("a"),
                note: Some(text("n")),
            },
            "product-added",
            r#"{"sku":"a","note":"n"}"#,
        ),
        (
            Cart::Moved(i64::MIN, u64::MAX),
            "Moved",
            "[-9223372036854775808,18446744073709551615]",
        ),
        (Cart::Paid(Payment::Cash), "Paid", r#""Cash""#),
        (
            Cart::Paid(Payment::Card {
                method: Method::DebitCard { number: 7 },
                limit: Limit::Daily(1.5),
                detail: Detail::Text(text("x")),
            }),
            "Paid",
            r#"{"Card":{"method":{"kind":"debit_card","number":7},"limit":{"t":"Daily","c":1.5},"detail":"x"}}"#,
        ),
        (Cart::Rated(None), "Rated", "null"),
        (Cart::Rated(Some(5)), "Rated", "5"),
        (Cart::Emptied {}, "Emptied", "{}"),
        (Cart::Cleared(), "Cleared", "[]"),
        (
            Cart::Wide(i128::MIN, u128::MAX),
            "Wide",
            "[-170141183460469231731687303715884105728,340282366920938463463374607431768211455]",
        ),
        (
            Cart::Counted(HashMap::from([(-1, 'é')])),
            "Counted",
            r#"{"-1":"é"}"#,
        ),
        (
            Cart::Untyped(serde_json::json!({"a": [null]})),
            "Untyped",
            r#"{"a":[null]}"#,
        ),
        (Cart::Blob(Bytes(vec![0, 255])), "Blob", "[0,255]"),
        (Cart::Ended(()), "Ended", "null"),
        (
            Cart::Noted {
                at: 1,
                rest: BTreeMap::from([(text("by"), text("me"))]),
            },
            "Noted",
            r#"{"at":1,"by":"me"}"#,
        ),
        (
            Cart::Skipping {
                kept: true,
                cached: 0,
            },
            "Skipping",
            r#"{"kept":true}"#,
        ),
        (Cart::Hidden(0), "Hidden", "{}"),
    ];
    for (event, message_type, data) in cases {
        assert_eq!(encoded(&event), (message_type, data.to_owned()));
        assert_eq!(
            decode_event::<Cart>(message_type, data.as_bytes()).unwrap(),
            event
        );
    }
}

#[test]
fn decode_event_reads_aliases_and_older_shapes() {
    let added = Cart::Added {
        sku: "a".to_owned(),
        note: None,
    };
    let cases = [
        ("ProductAdded", r#"{"sku": "a"}"#, added.clone()),
        ("ItemAdded", r#"{"gone": {"x": [1]}, "sku": "a"}"#, added),
        ("Opened", "null", Cart::Opened),
        (
            "Opened",
            r#" {"by": "someone", "lines": [{}]} "#,
            Cart::Opened,
        ),
        ("Hidden", "null", Cart::Hidden(0)),
    ];
    for (message_type, data, event) in cases {
        assert_eq!(
            decode_event::<Cart>(message_type, data.as_bytes()).unwrap(),
            event
        );
    }
}

#[test]
fn decode_event_of_an_unknown_type_names_it() {
    for unknown in ["Added", "opened", "", "\0"] {
        match decode_event::<Cart>(unknown, b"{}") {
            Err(DecodeError::UnknownType { message_type }) => assert_eq!(message_type, unknown),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn decode_event_of_an_unknown_type_with_serde_other_gives_that_variant() {
    for data in ["{}", "null", r#"{"any": [1, {"x": 2}]}"#] {
        assert_eq!(
            decode_event::<Tolerant>("Unheard", data.as_bytes()).unwrap(),
            Tolerant::SomethingElse
        );
    }
    assert_eq!(
        decode_event::<Tolerant>("firstThing", br#"{"id":1}"#).unwrap(),
        Tolerant::FirstThing { id: 1 }
    );
}

#[test]
fn decode_event_of_data_that_does_not_fit_is_an_error() {
    let cases = [
        ("Opened", "[]"),
        ("Opened", "1"),
        ("Opened", "{} {}"),
        ("Opened", ""),
        ("Opened", r#"{"a":}"#),
        ("Opened", r#"{"a":1"#),
        ("Moved", "[1]"),
        ("Moved", "[1,2,3]"),
        ("Moved", "[1,2] x"),
        ("Moved", "[9223372036854775808,1]"),
        ("product-added", r#"{"sku": 1}"#),
        ("product-added", "{}"),
        ("product-added", "null"),
        ("Paid", r#""Gold""#),
        ("Rated", "256"),
        ("Rated", ""),
        ("Untyped", "\"\u{0}\""),
    ];
    for (message_type, data) in cases {
        let result = decode_event::<Cart>(message_type, data.as_bytes());
        assert!(
            matches!(result, Err(DecodeError::Json(_))),
            "{message_type} {data}: {result:?}"
        );
    }
}

#[test]
fn decode_event_of_another_types_other_variant_does_not_swallow_broken_data() {
    assert!(matches!(
        decode_event::<Tolerant>("Unheard", b"{"),
        Err(DecodeError::Json(_))
    ));
}

/// Needs the feature `float_roundtrip` of `serde_json`: without it, about one float in three comes back changed.
#[test]
fn decode_event_gives_back_the_exact_float() {
    let floats = [
        0.1 + 0.2,
        99.99 * 3.0,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        1e23,
        9_007_199_254_740_993.0,
    ];
    for float in floats {
        let written = encoded(&Generic::Holding { value: float }).1;
        let as_jsonb_writes_it = format!(r#"{{"value": {float}}}"#);
        for data in [written, as_jsonb_writes_it] {
            let Generic::Holding { value } =
                decode_event::<Generic<f64>>("Holding", data.as_bytes()).unwrap();
            assert_eq!(value.to_bits(), float.to_bits(), "{data}");
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Generic<T> {
    Holding { value: T },
}

#[derive(Debug, Serialize, Deserialize)]
struct Wrapper(Cart);

#[derive(Debug, Serialize, Deserialize)]
#[serde(from = "Cart", into = "Cart")]
#[derive(Clone)]
struct Converted(Cart);

impl From<Cart> for Converted {
    fn from(cart: Cart) -> Self {
        Self(cart)
    }
}

impl From<Converted> for Cart {
    fn from(converted: Converted) -> Self {
        converted.0
    }
}

#[test]
fn encode_event_looks_through_boxes_newtypes_and_conversions() {
    let opened = ("Opened", "{}".to_owned());

    assert_eq!(encoded(&Box::new(Cart::Opened)), opened);
    assert_eq!(encoded(&Wrapper(Cart::Opened)), opened);
    assert_eq!(encoded(&Converted(Cart::Opened)), opened);
    assert_eq!(
        decode_event::<Wrapper>("Opened", b"{}").unwrap().0,
        Cart::Opened
    );
    assert_eq!(
        decode_event::<Converted>("Opened", b"{}").unwrap().0,
        Cart::Opened
    );
    assert!(matches!(known_types::<Wrapper>(), KnownTypes::Listed(_)));
}

#[test]
fn encode_event_with_raw_json_keeps_it_and_checks_it() {
    let event = |json: &str| Generic::Holding {
        value: RawValue::from_string(json.to_owned()).unwrap(),
    };
    let kept = encoded(&event(r#"{ "b": 1.0, "a": 1e400 }"#)).1;

    assert_eq!(kept, r#"{"value":{ "b": 1.0, "a": 1e400 }}"#);
    let Generic::Holding { value } =
        decode_event::<Generic<Box<RawValue>>>("Holding", kept.as_bytes()).unwrap();
    assert_eq!(value.get(), r#"{ "b": 1.0, "a": 1e400 }"#);
    assert!(matches!(
        encode_event(&event(r#""\u0000""#)),
        Err(EncodeError::Json(JsonError::NulCharacter { .. }))
    ));
}

#[test]
fn encode_event_of_a_float_that_is_not_finite_names_its_field() {
    let error = encode_event(&Generic::Holding {
        value: [Some(f64::NAN)],
    })
    .unwrap_err();

    assert_eq!(
        error.to_string(),
        "`value.0` is NaN or infinite, and JSON has no such number"
    );
}

#[test]
fn encode_event_refuses_exactly_the_depth_that_decode_event_cannot_read() {
    for (levels, readable) in [(126, true), (127, false)] {
        let value = (1..levels).fold(Value::Array(vec![]), |inner, _| Value::Array(vec![inner]));
        let data = serde_json::to_vec(&BTreeMap::from([("value", &value)])).unwrap();

        assert_eq!(
            decode_event::<Generic<Value>>("Holding", &data).is_ok(),
            readable
        );
        match encode_event(&Generic::Holding { value }) {
            Ok(encoded) => assert!(readable && encoded.data == data),
            Err(error) => {
                assert!(!readable && matches!(error, EncodeError::Json(JsonError::TooDeep { .. })));
            }
        }
    }
}

mod other_representations {
    use super::*;

    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub(super) enum Internal {
        Unit,
        Struct { a: u8 },
        Newtype(BTreeMap<String, u8>),
        Inner(Cart),
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "t", content = "c")]
    pub(super) enum Adjacent {
        Unit,
        Struct { a: u8 },
        Newtype(u8),
        Tuple(u8, u8),
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Untagged {
        Inner(Cart),
        Struct { a: u8 },
        Tuple(u8, u8),
        Unit,
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) enum PartlyUntagged {
        Tagged(u8),
        #[serde(untagged)]
        Rest(String),
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct Struct {
        pub(super) a: u8,
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct Unit;

    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(into = "String", try_from = "String")]
    pub(super) enum AsText {
        One,
    }

    impl From<AsText> for String {
        fn from(_: AsText) -> Self {
            "One".to_owned()
        }
    }

    impl TryFrom<String> for AsText {
        type Error = String;
        fn try_from(text: String) -> Result<Self, String> {
            if text == "One" {
                Ok(Self::One)
            } else {
                Err(text)
            }
        }
    }

    /// Serialized like an enum in the default representation, deserialized as text.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(try_from = "String")]
    pub(super) enum ReadAsText {
        One,
    }

    impl TryFrom<String> for ReadAsText {
        type Error = String;
        fn try_from(text: String) -> Result<Self, String> {
            AsText::try_from(text).map(|_| Self::One)
        }
    }
}

#[test]
fn another_representation_is_refused_in_both_directions() {
    use other_representations::*;

    fn refused<E: Serialize + DeserializeOwned + Debug>(events: impl IntoIterator<Item = E>) {
        for event in events {
            let refusal = encode_event(&event).unwrap_err();
            assert!(
                matches!(refusal, EncodeError::OtherRepresentation { .. }),
                "{event:?}: {refusal}"
            );
            assert!(
                refusal
                    .to_string()
                    .contains("serde's default (externally tagged) representation")
            );
        }
        for (message_type, data) in [
            ("Unit", "{}"),
            ("Opened", "{}"),
            ("", "null"),
            ("One", "\"One\""),
            ("Struct", r#"{"a":1}"#),
        ] {
            let refusal = decode_event::<E>(message_type, data.as_bytes()).unwrap_err();
            assert!(
                matches!(refusal, DecodeError::OtherRepresentation { .. }),
                "{message_type} {data}: {refusal}"
            );
        }
        assert_eq!(known_types::<E>(), KnownTypes::Any);
    }

    let inner = Internal::Inner(Cart::Added {
        sku: String::new(),
        note: None,
    });
    refused([
        Internal::Unit,
        Internal::Struct { a: 1 },
        Internal::Newtype(BTreeMap::new()),
        inner,
    ]);
    refused([
        Adjacent::Unit,
        Adjacent::Struct { a: 1 },
        Adjacent::Newtype(1),
        Adjacent::Tuple(1, 2),
    ]);
    refused([
        Untagged::Inner(Cart::Opened),
        Untagged::Struct { a: 1 },
        Untagged::Tuple(1, 2),
        Untagged::Unit,
    ]);
    refused([
        PartlyUntagged::Tagged(1),
        PartlyUntagged::Rest(String::new()),
    ]);
    refused([AsText::One]);
    refused([ReadAsText::One]);
    refused([Struct { a: 1 }]);
    refused([Unit]);
    refused([Some(Cart::Opened), None]);
    refused([
        serde_json::json!({"Opened": {}}),
        Value::Null,
        "Opened".into(),
        1.into(),
        vec![1].into(),
    ]);
    refused([BTreeMap::from([("Opened".to_owned(), 1)])]);
    refused([(1, 2.5, 'c')]);
}

#[derive(Debug, Serialize, Deserialize)]
enum Asymmetric {
    #[serde(rename(serialize = "new", deserialize = "old"))]
    Renamed,
    #[serde(skip_deserializing)]
    WriteOnly,
    #[serde(skip_serializing)]
    ReadOnly,
    Fine,
}

#[test]
fn encode_event_refuses_a_type_that_the_enum_does_not_read() {
    for (event, message_type) in [
        (Asymmetric::Renamed, "new"),
        (Asymmetric::WriteOnly, "WriteOnly"),
    ] {
        match encode_event(&event) {
            Err(EncodeError::UnreadableType {
                message_type: refused,
                ..
            }) => assert_eq!(refused, message_type),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        encode_event(&Asymmetric::ReadOnly),
        Err(EncodeError::Json(JsonError::Serde(_)))
    ));
    assert_eq!(encoded(&Asymmetric::Fine).0, "Fine");
}

#[test]
fn known_types_of_an_enum_are_its_names_and_aliases() {
    let KnownTypes::Listed(types) = known_types::<Cart>() else {
        panic!("not listed")
    };

    for name in [
        "Opened",
        "product-added",
        "ProductAdded",
        "ItemAdded",
        "Noted",
    ] {
        assert!(types.contains(&name), "{name} in {types:?}");
    }
    assert!(!types.contains(&"Added"));
    assert_eq!(
        known_types::<Asymmetric>(),
        KnownTypes::Listed(&["old", "ReadOnly", "Fine"])
    );
}

#[test]
fn known_types_of_an_enum_with_serde_other_are_any() {
    assert_eq!(known_types::<Tolerant>(), KnownTypes::Any);
}

/// A hand-written enum that lists no names and panics at an unknown one.
#[derive(Debug, PartialEq)]
enum Handmade<const LISTS_ITS_NAME: bool> {
    Only(u8),
}

impl<const LISTS_ITS_NAME: bool> Serialize for Handmade<LISTS_ITS_NAME> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self::Only(value) = self;
        serializer.serialize_newtype_variant("Handmade", 0, "Only", value)
    }
}

impl<'de, const LISTS_ITS_NAME: bool> Deserialize<'de> for Handmade<LISTS_ITS_NAME> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyVisitor<const LISTS_ITS_NAME: bool>;

        impl<'de, const LISTS_ITS_NAME: bool> Visitor<'de> for OnlyVisitor<LISTS_ITS_NAME> {
            type Value = Handmade<LISTS_ITS_NAME>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the only variant")
            }

            fn visit_enum<A: de::EnumAccess<'de>>(self, data: A) -> Result<Self::Value, A::Error> {
                let (name, content) = data.variant::<String>()?;
                assert_eq!(name, "Only");
                de::VariantAccess::newtype_variant(content).map(Handmade::Only)
            }
        }

        deserializer.deserialize_enum(
            "Handmade",
            if LISTS_ITS_NAME { &["Only"] } else { &[] },
            OnlyVisitor,
        )
    }
}

#[test]
fn handmade_enum_that_lists_nothing_works_and_knows_any_type() {
    assert_eq!(
        encoded(&Handmade::<false>::Only(1)),
        ("Only", "1".to_owned())
    );
    assert_eq!(
        decode_event::<Handmade<false>>("Only", b"1").unwrap(),
        Handmade::Only(1)
    );
    assert_eq!(known_types::<Handmade<false>>(), KnownTypes::Any);
}

#[test]
fn known_types_of_an_enum_that_panics_at_strange_names_are_any() {
    assert_eq!(known_types::<Handmade<true>>(), KnownTypes::Any);
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[^\0]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[^\0]{0,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_event() -> impl Strategy<Value = Cart> {
    prop_oneof![
        Just(Cart::Opened),
        ("[^\0]{0,12}", proptest::option::of("[^\0]{0,12}"))
            .prop_map(|(sku, note)| Cart::Added { sku, note }),
        any::<(i64, u64)>().prop_map(|(from, to)| Cart::Moved(from, to)),
        any::<(i128, u128)>().prop_map(|(low, high)| Cart::Wide(low, high)),
        any::<Option<u8>>().prop_map(Cart::Rated),
        prop::collection::hash_map(
            any::<i32>(),
            "[^\0]".prop_map(|text| text.chars().next().unwrap_or('x')),
            0..4
        )
        .prop_map(Cart::Counted),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| Cart::Blob(Bytes(bytes))),
        any_value().prop_map(Cart::Untyped),
    ]
}

proptest! {
    #[test]
    fn decode_event_of_an_encoded_event_gives_the_same_event(event in any_event()) {
        let encoded = encode_event(&event).unwrap();

        crate::json::check_json_text(&encoded.data).unwrap();
        prop_assert_eq!(decode_event::<Cart>(encoded.message_type, &encoded.data).unwrap(), event);
    }
}

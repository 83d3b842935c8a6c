use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{DEPTH_LIMIT, JsonError, check_json_text, to_json};

#[derive(Serialize)]
struct Order {
    id: u32,
    lines: Vec<Line>,
    #[serde(flatten)]
    prices: BTreeMap<String, f64>,
}

#[derive(Serialize)]
struct Line {
    amount: Option<f32>,
    payment: Payment,
}

#[derive(Serialize)]
enum Payment {
    Cash,
    Card { fee: f64 },
    Points(f64, f64),
    Voucher(f64),
}

fn order(amount: f32, payment: Payment, price: f64) -> Order {
    let lines = vec![
        Line {
            amount: Some(1.0),
            payment: Payment::Cash,
        },
        Line {
            amount: Some(amount),
            payment,
        },
    ];
    Order {
        id: 1,
        lines,
        prices: BTreeMap::from([("net".to_owned(), 1.0), ("gross".to_owned(), price)]),
    }
}

/// A map key that serializes as a float. Rust's own floats cannot be keys.
#[derive(Serialize, PartialEq, Eq, Hash)]
struct FloatKey(#[serde(serialize_with = "bits_as_float")] u64);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn bits_as_float<S: Serializer>(bits: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(f64::from_bits(*bits))
}

fn message<T: Serialize>(value: T) -> String {
    to_json(&value).expect_err("refused").to_string()
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

#[test]
fn to_json_of_a_float_that_is_not_finite_names_its_field() {
    let nan = f64::NAN;
    let cases = [
        (message(nan), "the value is"),
        (message(f32::NEG_INFINITY), "the value is"),
        (message(vec![0.0, f64::INFINITY]), "`1` is"),
        (message((1, Some(nan))), "`1` is"),
        (message(HashMap::from([("net", nan)])), "`net` is"),
        (message(HashMap::from([(7, nan)])), "`7` is"),
        (
            message(HashMap::from([(FloatKey(nan.to_bits()), 1)])),
            "`(a key)` is",
        ),
        (
            message(order(f32::NAN, Payment::Cash, 1.0)),
            "`lines.1.amount` is",
        ),
        (
            message(order(1.0, Payment::Card { fee: nan }, 1.0)),
            "`lines.1.payment.fee` is",
        ),
        (
            message(order(1.0, Payment::Points(0.0, nan), 1.0)),
            "`lines.1.payment.1` is",
        ),
        (
            message(order(1.0, Payment::Voucher(nan), 1.0)),
            "`lines.1.payment` is",
        ),
        (
            message(order(1.0, Payment::Cash, f64::INFINITY)),
            "`gross` is",
        ),
    ];
    for (message, place) in cases {
        assert_eq!(
            message,
            format!("{place} NaN or infinite, and JSON has no such number")
        );
    }
}

#[test]
fn to_json_of_finite_values_writes_what_serde_json_writes() {
    let order = order(f32::MAX, Payment::Points(f64::MIN_POSITIVE, -0.0), f64::MAX);
    let key = HashMap::from([(FloatKey(1.5_f64.to_bits()), None::<u8>)]);

    assert_eq!(
        to_json(&order).unwrap(),
        serde_json::to_vec(&order).unwrap()
    );
    assert_eq!(to_json(&key).unwrap(), br#"{"1.5":null}"#);
    assert_eq!(
        to_json(&(i128::MIN, u128::MAX)).unwrap(),
        serde_json::to_vec(&(i128::MIN, u128::MAX)).unwrap()
    );
    assert_eq!(
        to_json("\u{1}\"\u{7f}é\u{10ffff}").unwrap(),
        "\"\\u0001\\\"\u{7f}é\u{10ffff}\"".as_bytes()
    );
    assert_eq!(to_json(&format_args!("{}-{}", 1, 2)).unwrap(), br#""1-2""#);
    assert_eq!(to_json(&()).unwrap(), b"null");
}

#[test]
fn to_json_of_a_nul_character_names_its_field() {
    struct Shown;
    impl fmt::Display for Shown {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a\0")
        }
    }
    impl Serialize for Shown {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    let cases = [
        (message("\0"), "the value"),
        (message(Shown), "the value"),
        (message(("a", '\0')), "`1`"),
        (message(HashMap::from([("a\0", 1)])), "`(a key)`"),
        (message(HashMap::from([("name", "x\0")])), "`name`"),
        (
            message(serde_json::json!({ "a": [{ "b": "\u{0}" }] })),
            "`a.0.b`",
        ),
    ];
    for (message, place) in cases {
        assert_eq!(
            message,
            format!("{place} contains the character U+0000, which PostgreSQL cannot store")
        );
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Nested {
    Leaf,
    Newtype(Box<Nested>),
    Tuple(Box<Nested>, u8),
    Struct { inner: Box<Nested> },
}

#[test]
fn to_json_refuses_exactly_the_depth_that_serde_json_cannot_read() {
    fn reads_back<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> bool {
        let json = serde_json::to_vec(value).unwrap();
        let readable = serde_json::from_slice::<T>(&json).is_ok();
        assert_eq!(serde_json::from_slice::<Value>(&json).is_ok(), readable);
        assert_eq!(check_json_text(&json).is_ok(), readable);
        match to_json(value) {
            Ok(_) => assert!(readable),
            Err(JsonError::TooDeep { limit }) => assert!(!readable && limit == DEPTH_LIMIT),
            Err(error) => panic!("{error}"),
        }
        readable
    }
    let arrays =
        |levels| (1..levels).fold(Value::Array(vec![]), |inner, _| Value::Array(vec![inner]));
    let enums = |levels: usize, layer: fn(Nested) -> Nested| {
        (0..levels).fold(Nested::Leaf, |inner, _| layer(inner))
    };
    let newtype = |inner| Nested::Newtype(Box::new(inner));
    let tuple = |inner| Nested::Tuple(Box::new(inner), 1);
    let fields = |inner| Nested::Struct {
        inner: Box::new(inner),
    };

    assert!(reads_back(&arrays(127)) && !reads_back(&arrays(128)));
    assert!(reads_back(&enums(127, newtype)) && !reads_back(&enums(128, newtype)));
    assert!(reads_back(&enums(63, tuple)) && !reads_back(&enums(64, tuple)));
    assert!(reads_back(&enums(63, fields)) && !reads_back(&enums(64, fields)));
}

#[test]
fn to_json_counts_the_depth_anew_after_each_array() {
    let side_by_side = vec![vec![Vec::<u8>::new()]; 1000];

    assert!(to_json(&side_by_side).is_ok());
    assert!(
        to_json(&vec![
            BTreeMap::from([(1, BTreeMap::<u8, u8>::new())]);
            1000
        ])
        .is_ok()
    );
}

#[test]
fn to_json_checks_raw_json_where_it_stands() {
    let in_order = |json: &str| message(HashMap::from([("extra", raw(json))]));

    assert_eq!(
        in_order(r#"{"a": "\u0000"}"#),
        "`extra` (byte 6 of its raw JSON) contains the character U+0000, which PostgreSQL cannot store"
    );
    assert!(
        in_order(r#""\ud83d""#)
            .starts_with("`extra` (byte 0 of its raw JSON) escapes half of a surrogate pair")
    );
    assert!(in_order("[1, 1e131072]").starts_with("`extra` (byte 4 of its raw JSON) is beyond"));
    assert!(in_order(&nested_arrays(127)).starts_with("the JSON is nested deeper than 127 levels"));
    assert!(to_json(&HashMap::from([("extra", raw(&nested_arrays(126)))])).is_ok());
    assert_eq!(
        to_json(&raw("[1.50, \"\\u00e9\"]")).unwrap(),
        br#"[1.50, "\u00e9"]"#
    );
}

#[test]
fn to_json_refuses_a_value_whose_serialize_swallowed_the_refusal() {
    struct Swallows;
    impl Serialize for Swallows {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut elements = serializer.serialize_seq(None)?;
            let _ = elements.serialize_element(&f64::NAN);
            elements.end()
        }
    }

    assert!(matches!(
        to_json(&Swallows),
        Err(JsonError::NotFinite { .. })
    ));
}

#[test]
fn to_json_of_a_value_whose_serialize_lies_about_its_length_does_not_panic() {
    struct Lies;
    impl Serialize for Lies {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut elements = serializer.serialize_seq(Some(0))?;
            elements.serialize_element(&1)?;
            elements.end()
        }
    }

    assert!(to_json(&Lies).is_ok_and(|json| check_json_text(&json).is_err()));
}

#[test]
fn to_json_of_a_value_without_json_form_keeps_the_cause() {
    let error = to_json(&HashMap::from([((1, 2), 3)])).unwrap_err();

    assert!(matches!(error, JsonError::Serde(_)));
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "key must be a string"
    );
}

fn nested_arrays(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// Each case was tried on PostgreSQL 15.
#[test]
fn check_json_text_accepts_what_jsonb_accepts() {
    let cases = [
        r#" {"a": [1, -2.5e-3, true, null], "b": "\\u0000 \n \u00e9"} "#.to_owned(),
        r#""\ud83d\ude00 \uFFFF""#.to_owned(),
        "\"\u{7f}\u{10ffff}\"".to_owned(),
        "1e131071".to_owned(),
        "-9.99e+131071".to_owned(),
        "0.001e131074".to_owned(),
        "1E-16383".to_owned(),
        "0e-16383".to_owned(),
        "0e1073741822".to_owned(),
        "0.0e1073741822".to_owned(),
        "9".repeat(131_072),
        format!("0.{}", "1".repeat(16_383)),
        format!("0.{}e1", "1".repeat(16_384)),
        nested_arrays(127),
        format!("[{}]", vec!["{}"; 1000].join(",")),
    ];
    for text in cases {
        assert!(check_json_text(text.as_bytes()).is_ok(), "{text:.40}");
    }
}

/// Each case was tried on PostgreSQL 15, but the depth, which is ours.
#[test]
fn check_json_text_refuses_what_jsonb_refuses() {
    let number = |text: &str| (text.to_owned(), "beyond the range of jsonb");
    let surrogate = |text: &str| (text.to_owned(), "surrogate");
    let syntax = |text: &str| (text.to_owned(), "not valid JSON");
    let cases = [
        number("1e131072"),
        number("-99e131071"),
        number("0.001e131075"),
        number("1e-16384"),
        number("1.5e-16383"),
        number("0e-16384"),
        number("0e1073741823"),
        number("0e-1073741823"),
        number("0e99999999999999999999"),
        number(&"9".repeat(131_073)),
        number(&format!("0.{}", "1".repeat(16_384))),
        number(&format!("0.{}", "0".repeat(16_384))),
        surrogate(r#""\ud83d""#),
        surrogate(r#""\ude00""#),
        surrogate(r#""\ud83d\ud83d\ude00""#),
        surrogate(r#""\ud83dx""#),
        surrogate(r#""\uD83D\n""#),
        (r#"{"\u0000": 1}"#.to_owned(), "U+0000"),
        (r#"["\\\u0000"]"#.to_owned(), "U+0000"),
        (nested_arrays(128), "deeper than 127 levels"),
        syntax(""),
        syntax("{} x"),
        syntax("{}{}"),
        syntax("[1,]"),
        syntax("{\"a\" 1}"),
        syntax("01"),
        syntax("1."),
        syntax("NaN"),
        syntax("\"\u{0}\""),
        syntax("\"\n\""),
        syntax(r#""\x""#),
        syntax(r#""\u12""#),
        syntax("[1,\u{c} 2]"),
    ];
    for (text, complaint) in cases {
        let error = check_json_text(text.as_bytes())
            .expect_err(&text)
            .to_string();
        assert!(error.contains(complaint), "{text:.40}: {error}");
    }
}

#[test]
fn check_json_text_of_bytes_that_are_not_utf8_is_a_syntax_error() {
    assert!(matches!(
        check_json_text(b"\"\xff\""),
        Err(JsonError::Syntax(_))
    ));
}

#[test]
fn check_json_text_names_the_byte_of_the_fault() {
    let error = check_json_text("[\"é\", \"\\ud800\"]".as_bytes()).unwrap_err();

    assert_eq!(
        error.to_string(),
        "byte 7 escapes half of a surrogate pair, which is not a character"
    );
}

proptest::proptest! {
    #[test]
    fn check_json_text_of_any_text_does_not_panic_and_implies_valid_json(text in r#"[\[\]{}:,"\\udDeE+\-.0-9 ntré]{0,40}"#) {
        if check_json_text(text.as_bytes()).is_ok() {
            proptest::prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok());
        }
    }

    #[test]
    fn check_tokens_of_any_text_does_not_panic(text in r#"[\[\]{}:,"\\u0dDeE+\-.1é]{0,40}"#) {
        let _ = super::text::check_tokens(&text, 0);
    }
}

#![allow(
    clippy::items_after_statements,
    clippy::float_cmp,
    reason = "each test declares its types next to their use, and floats are compared exactly on purpose"
)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::JsonError;
use super::from_stored;

/// A number that a float would change. In an unread field, it makes every part of a document pass [`super::Exact`].
const LONG: &str = "12345678901234567890123";

fn read<T: DeserializeOwned>(json: &str) -> Result<T, JsonError> {
    from_stored(json.as_bytes())
}

#[track_caller]
fn assert_reads<T: DeserializeOwned + PartialEq + Debug>(json: &str, expected: T) {
    assert_eq!(read::<T>(json).unwrap(), expected);
}

#[track_caller]
fn assert_refused<T: DeserializeOwned + Debug>(json: &str, expected: &str) {
    match read::<T>(json) {
        Err(JsonError::BeyondF64 { number }) => assert_eq!(number, expected),
        other => panic!("{other:?}"),
    }
}

/// A stored document with these fields, and again with a number beyond `f64` in a field `ignored`.
fn documents(fields: &str) -> [String; 2] {
    let document = |more: &str| format!(r#"{{"_id": "Cart-1", {fields}{more}, "_version": 7}}"#);
    [document(""), document(&format!(r#", "ignored": {LONG}"#))]
}

fn document(fields: &str) -> String {
    let [document, _] = documents(fields);
    document
}

#[test]
fn what_is_no_json_is_refused() {
    for json in [
        "",
        "{",
        "{}}",
        "{} 1",
        "[1,]",
        r#"{"a": 1e999"#,
        &format!("[{LONG}] 1"),
    ] {
        assert!(read::<Value>(json).is_err(), "{json}");
    }
    assert!(from_stored::<Value>(b"{\"a\": \"\xff\"}").is_err());
    assert!(from_stored::<Value>(b"{\"a\": [\"\xff\", 12345678901234567890123]}").is_err());
}

#[test]
fn a_number_beyond_f64_is_refused_by_who_takes_anything() {
    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "never read")]
    enum Number {
        Integer(i64),
        Float(f64),
        Text(String),
    }
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "never read")]
    struct Flattened {
        #[serde(flatten)]
        rest: HashMap<String, Value>,
    }
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "never read")]
    enum External {
        Newtype(Value),
        Tuple(u8, Value),
        Struct { value: Value },
    }
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "never read")]
    struct Newtype(Value);
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "never read")]
    struct Pair(u8, Value);

    for number in [LONG, "-0.12345678901234567890123", "18446744073709551616"] {
        let object = |value: &str| {
            format!(r#"{{"_id": "1", "a": {value}, "_version": 1}}"#).replace("{}", number)
        };

        assert_refused::<Value>(&object("{}"), number);
        assert_refused::<Value>(&object(r#"[0.5, {"b": [{}]}]"#), number);
        assert_refused::<HashMap<String, Value>>(&object("[[{}]]"), number);
        assert_refused::<BTreeMap<String, Vec<Number>>>(
            &format!(r#"{{"a": [1, {number}]}}"#),
            number,
        );
        assert_refused::<BTreeMap<String, Option<(u8, Option<Value>)>>>(
            &format!(r#"{{"a": [1, {number}]}}"#),
            number,
        );
        assert_refused::<BTreeMap<String, Newtype>>(&format!(r#"{{"a": {number}}}"#), number);
        assert_refused::<BTreeMap<String, Pair>>(&format!(r#"{{"a": [1, {number}]}}"#), number);
        assert_refused::<Flattened>(&object("[{}]"), number);
        assert_refused::<External>(&format!(r#"{{"Newtype": {number}}}"#), number);
        assert_refused::<External>(&format!(r#"{{"Tuple": [1, [{number}]]}}"#), number);
        assert_refused::<External>(&format!(r#"{{"Struct": {{"value": {number}}}}}"#), number);
        assert_refused::<Vec<External>>(&format!(r#"[{{"Newtype": {number}}}]"#), number);
        assert_refused::<Vec<External>>(&format!(r#"[{{"Tuple": [1, {number}]}}]"#), number);
        assert_refused::<Vec<External>>(
            &format!(r#"[{{"Struct": {{"value": {number}}}}}]"#),
            number,
        );
    }
}

#[test]
fn a_number_beyond_f64_is_named_and_a_long_one_cut() {
    let error = read::<Value>(&document(&format!(r#""a": {LONG}"#))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a float would change the number 12345678901234567890123; read it exactly with a field of type Box<RawValue>, i128, \
         u128 or of a decimal type that is kept as a string, or rounded with a field of type f64"
    );

    let sixty_digits = "7".repeat(60);
    assert_refused::<Value>(&format!("[{sixty_digits}]"), &sixty_digits);
    assert_refused::<Value>(&format!("[{sixty_digits}7]"), &format!("{sixty_digits}…"));
    assert_refused::<Value>(
        &format!("[1{}]", "0".repeat(400)),
        &format!("1{}…", "0".repeat(59)),
    );
}

#[test]
fn a_number_beyond_f64_comes_as_it_is_to_who_asks_for_it() {
    #[derive(Debug, Deserialize)]
    struct Account {
        signed: i128,
        unsigned: Option<u128>,
        raw: Box<RawValue>,
        raws: Vec<Option<Box<RawValue>>>,
        nearest: f64,
        nearest_or_none: Option<f64>,
        single: f32,
        keys: HashMap<i128, Value>,
    }
    let account: Account = read(&document(
        r#""signed": -170141183460469231731687303715884105728, "unsigned": 340282366920938463463374607431768211455,
           "raw": 0.12345678901234567890123, "raws": [1e999, null, {"a": 12345678901234567890123}],
           "nearest": 0.12345678901234567890123, "nearest_or_none": 12345678901234567890123,
           "single": 0.12345678901234567890123, "keys": {"12345678901234567890123": 0.1}"#,
    ))
    .unwrap();

    assert_eq!(
        (account.signed, account.unsigned),
        (i128::MIN, Some(u128::MAX))
    );
    assert_eq!(account.raw.get(), "0.12345678901234567890123");
    let raws: Vec<_> = account.raws.iter().flatten().map(|raw| raw.get()).collect();
    assert_eq!(raws, ["1e999", r#"{"a": 12345678901234567890123}"#]);
    let floats = [
        account.nearest,
        account.nearest_or_none.unwrap(),
        account.single.into(),
    ];
    assert_eq!(
        floats,
        [
            0.123_456_789_012_345_68,
            1.234_567_890_123_456_8e22,
            0.123_456_79_f32.into()
        ]
    );
    assert_eq!(
        account.keys,
        HashMap::from([(12_345_678_901_234_567_890_123, json!(0.1))])
    );
}

#[test]
fn what_stands_beside_a_number_beyond_f64_comes_as_it_is() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Unit;
    #[derive(Debug, PartialEq, Deserialize)]
    struct Meters(f64);
    #[derive(Debug, PartialEq, Deserialize)]
    enum Payment {
        Cash,
        Card { fee: Value },
        Points(u8, Value),
        Voucher(Meters),
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Everything {
        text: String,
        letter: char,
        integers: (i8, i16, i32, i64, u8, u16, u32, u64),
        floats: [f64; 2],
        yes: bool,
        nothing: (),
        unit: Unit,
        absent: Option<u8>,
        bytes: Vec<u8>,
        payments: Vec<Payment>,
        value: Value,
        map: BTreeMap<u8, Value>,
    }
    let fields = r#""text": "1\n", "letter": "é", "integers": [1, -2, 3, -4, 5, 6, 7, 18446744073709551615], "floats": [0.1, -0.0],
        "yes": true, "nothing": null, "unit": null, "absent": null, "bytes": [1, 2],
        "payments": ["Cash", {"Card": {"fee": 0.1}}, {"Points": [1, [true]]}, {"Voucher": 1e300}],
        "value": [0.30000000000000004, {"a": [null, "12345678901234567890123", -1, 100000000000000000000]}], "map": {"1": 1.10}"#;

    let [plain, long] = documents(fields);
    let everything: Everything = read(&plain).unwrap();
    assert_eq!(everything, serde_json::from_str(&plain).unwrap());
    assert_eq!(everything.floats[1].to_bits(), (-0.0_f64).to_bits());
    assert_reads(&long, everything);
}

#[test]
fn a_value_that_was_written_exactly_is_not_blamed_for_another_one() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Both {
        nearest: f64,
        value: Value,
    }
    let both = Both {
        nearest: 0.1,
        value: json!({"a": 0.1}),
    };
    assert_reads(
        &document(r#""nearest": 0.1000000000000000055511151231257827, "value": {"a": 0.1}"#),
        both,
    );
}

#[test]
fn a_type_error_beside_a_number_beyond_f64_stays_one() {
    let [_, long] = documents(r#""client": 1"#);
    #[derive(Debug, Deserialize)]
    struct Loose {
        #[expect(dead_code, reason = "never read")]
        client: String,
    }
    match read::<Loose>(&long) {
        Err(JsonError::Unfit(error)) => assert_eq!((error.line(), error.column()), (1, 29)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_type_may_take_anything_and_then_ask_for_exact_numbers() {
    /// Text or an object, read by a hand-written visitor with `deserialize_any`.
    #[derive(Debug, PartialEq)]
    struct Amount(i128);
    impl<'de> Deserialize<'de> for Amount {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct AmountVisitor;
            impl<'de> serde::de::Visitor<'de> for AmountVisitor {
                type Value = Amount;
                fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    formatter.write_str("an amount")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut entries: A,
                ) -> Result<Amount, A::Error> {
                    let (_, amount) = entries.next_entry::<String, i128>()?.expect("an entry");
                    Ok(Amount(amount))
                }
            }
            deserializer.deserialize_any(AmountVisitor)
        }
    }

    assert_reads(
        &format!(r#"{{"amount": {{"cents": {LONG}}}}}"#),
        HashMap::from([("amount".to_owned(), Amount(12_345_678_901_234_567_890_123))]),
    );
}

#[test]
fn a_deep_document_is_read_or_refused_as_without_long_numbers() {
    let nested = |levels: usize, number: &str| {
        format!("{}{number}{}", "[".repeat(levels), "]".repeat(levels))
    };

    assert!(read::<Value>(&nested(127, "1")).is_ok());
    assert_refused::<Value>(&nested(127, LONG), LONG);
    assert!(matches!(
        read::<Value>(&nested(128, LONG)),
        Err(JsonError::TooDeep { .. })
    ));
    assert!(matches!(
        read::<Value>(&nested(100_000, LONG)),
        Err(JsonError::TooDeep { .. })
    ));
}

/// JSON values with numbers as PostgreSQL writes them.
fn stored_json() -> impl Strategy<Value = String> {
    let number = "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,22})?";
    let leaf = prop_oneof![
        number.prop_map(|number| number),
        "\"[a-e0-9 ,:\\[.-]{0,24}\"",
        Just("null".to_owned()),
        Just(r#""\\\" 12345678901234567890123""#.to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let field =
            ("[a-z_]{1,4}", inner.clone()).prop_map(|(key, value)| format!(r#""{key}": {value}"#));
        prop_oneof![
            prop::collection::vec(inner, 0..4)
                .prop_map(|elements| format!("[{}]", elements.join(", "))),
            prop::collection::vec(field, 0..4)
                .prop_map(|fields| format!("{{{}}}", fields.join(", "))),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_is_exact_or_refused(json in stored_json()) {
        let beyond = crate::json::number::has_number_beyond_f64(json.as_bytes());
        match read::<Value>(&json) {
            Ok(value) => {
                prop_assert!(!beyond);
                prop_assert_eq!(value, serde_json::from_str::<Value>(&json).unwrap());
            }
            Err(JsonError::BeyondF64 { number }) => prop_assert!(beyond && json.contains(&number)),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn every_f64_is_read_as_itself(bits in any::<u64>().prop_filter("finite", |bits| f64::from_bits(*bits).is_finite())) {
        let float = f64::from_bits(bits);
        // Rust writes another text: halfway between two equally short ones, it takes the other.
        let written = serde_json::to_string(&float).unwrap();
        let [plain, long] = documents(&format!(r#""total": {written}, "client": "C""#));
        #[derive(Debug, Deserialize)]
        struct Loose {
            total: f64,
        }
        prop_assert_eq!(read::<Loose>(&plain).unwrap().total.to_bits(), bits);
        prop_assert_eq!(read::<Loose>(&long).unwrap().total.to_bits(), bits);
        prop_assert_eq!(read::<Value>(&plain).unwrap()["total"].as_f64(), Some(float));
    }

    #[test]
    fn an_integer_of_128_bits_is_read_as_itself(number in any::<i128>()) {
        let document = document(&format!(r#""a": {number}"#));
        #[derive(Debug, Deserialize)]
        struct Exact {
            a: i128,
        }
        prop_assert_eq!(read::<Exact>(&document).unwrap().a, number);
    }
}

use proptest::prelude::*;
use serde_json::{Number, Value};

use super::{Decimal, has_number_beyond_f64};

fn beyond(json: &str) -> bool {
    has_number_beyond_f64(json.as_bytes())
}

fn zeros(count: usize) -> String {
    "0".repeat(count)
}

#[test]
fn a_number_that_serde_json_keeps_is_not_beyond_f64() {
    let kept = [
        "0".to_owned(),
        "-0".to_owned(),
        "-0.0".to_owned(),
        "-0.00000000000000000000".to_owned(),
        "0e99999999999999999999".to_owned(),
        "0.0000000000000000000000e-7".to_owned(),
        "9007199254740993".to_owned(),
        "9223372036854775807".to_owned(),
        "-9223372036854775808".to_owned(),
        "18446744073709551615".to_owned(),
        "100000000000000000000".to_owned(),
        "18446744073709552000".to_owned(),
        "18446744073709552000.00".to_owned(),
        "1.10".to_owned(),
        "1.1000000000000000000000000".to_owned(),
        "0.30000000000000004".to_owned(),
        "123456789012345.6".to_owned(),
        "1e300".to_owned(),
        "1E+300".to_owned(),
        "100e298".to_owned(),
        "0.0001e304".to_owned(),
        format!("1{}", zeros(300)),
        format!("-1{}.0", zeros(300)),
        "1.7976931348623157e308".to_owned(),
        format!("17976931348623157{}", zeros(292)),
        "5e-324".to_owned(),
        format!("0.{}5", zeros(323)),
        format!("0.{}50", zeros(323)),
    ];
    for number in kept {
        assert!(!beyond(&number), "{number}");
        assert!(!beyond(&format!("{{\"a\": [{number}]}}")), "{number}");
    }
}

#[test]
fn a_number_that_serde_json_changes_is_beyond_f64() {
    let changed = [
        "18446744073709551616".to_owned(),
        "-9223372036854775809".to_owned(),
        "12345678901234567890123".to_owned(),
        "0.12345678901234567890123".to_owned(),
        "0.1000000000000000055511151231257827".to_owned(),
        "9007199254740993.0".to_owned(),
        "0.30000000000000003".to_owned(),
        "123456789012345678e5".to_owned(),
        "1.7976931348623159e308".to_owned(),
        "1e309".to_owned(),
        "1e999".to_owned(),
        "-1E+999".to_owned(),
        "1e99999999999999999999".to_owned(),
        "4e-324".to_owned(),
        "1e-400".to_owned(),
        "-1.5e-9223372036854775808".to_owned(),
        "1e-99999999999999999999".to_owned(),
        format!("1{}", zeros(309)),
        format!("1{}1", zeros(30)),
        format!("0.{}1", zeros(400)),
    ];
    for number in changed {
        assert!(beyond(&number), "{number}");
        for around in [
            "{} ",
            "[{}]",
            "{\"a\": {}}",
            "{\"a\":{},\"b\":1}",
            "[0,{}, 1]",
            "[\n{}\r\n]",
        ] {
            let json = around.replacen("{}", &number, 1);
            assert!(beyond(&json), "{json}");
        }
    }
}

#[test]
fn digits_in_strings_and_keys_are_no_number() {
    let number = "12345678901234567890123";
    for text in [
        "{}",
        " {}",
        "a, {} b",
        "\\\" {} ",
        "\\\\\\\": {},",
        "[{}]",
        "\\u0022 {}",
    ] {
        let text = text.replacen("{}", number, 1);
        assert!(!beyond(&format!("\"{text}\"")), "{text}");
        assert!(
            !beyond(&format!("{{\"{text}\": \"{text}\", \"b\": [1]}}")),
            "{text}"
        );
        assert!(
            beyond(&format!("{{\"{text}\": \"{text}\", \"b\": [{number}]}}")),
            "{text}"
        );
        assert!(beyond(&format!("[\"{text}\\\\\", {number}]")), "{text}");
    }
    assert!(!beyond(
        r#"{"id": "550e8400-e29b-41d4-a716-446655440000", "at": "2024-05-06T10:11:12.123456+00:00"}"#
    ));
}

#[test]
fn a_number_is_found_wherever_it_stands() {
    for number in [
        "1e999",
        "-1e-999",
        "18446744073709551616",
        "0.12345678901234567",
    ] {
        for before in 0..40 {
            let json = format!(
                "[\"{}\",{number},\"{}\"]",
                "e".repeat(before),
                "x".repeat(40 - before)
            );
            assert!(beyond(&json), "{json}");
        }
        assert!(beyond(&format!("[1,-2,3e4,5.6,{number}]")), "{number}");
    }
}

proptest! {
    #[test]
    fn every_f64_is_kept_however_it_is_written(bits in any::<u64>(), value in -1e20..1e20) {
        for float in [f64::from_bits(bits), value].into_iter().filter(|float| float.is_finite()) {
            let written = serde_json::to_string(&float).unwrap();
            prop_assert!(!beyond(&written));
            // Like PostgreSQL, Rust writes no exponent. Halfway between two equally short texts, as with
            // 72445568373893.625, it takes the other one.
            let plain = format!("{float}");
            let is_same = Decimal::new(&plain) == Decimal::new(&written);
            prop_assert!(!is_same || !beyond(&plain), "{plain}");
        }
    }

    #[test]
    fn every_integer_of_64_bits_is_kept(signed in any::<i64>(), unsigned in any::<u64>()) {
        let json = format!("[{signed},{unsigned}]");
        prop_assert!(!beyond(&json));
    }

    #[test]
    fn a_decimal_is_beyond_f64_exactly_if_serde_json_writes_another_value(
        number in "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
    ) {
        let kept = serde_json::from_str::<Value>(&number)
            .is_ok_and(|read| Decimal::new(&read.to_string()) == Decimal::new(&number));
        prop_assert_eq!(beyond(&number), !kept, "{}", number);
        prop_assert_eq!(beyond(&format!("[\"\", {number}, 1]")), !kept, "{}", number);
    }

    #[test]
    fn a_decimal_is_the_same_however_it_is_written(
        negative in any::<bool>(), digits in "[1-9][0-9]{0,20}", exponent in -30_i32..30, shift in 0_i32..9, zeros in 0_usize..5,
    ) {
        let sign = if negative { "-" } else { "" };
        let zeros = "0".repeat(zeros);
        let whole = format!("{sign}{digits}e{exponent}");
        let small = format!("{sign}0.{}{digits}{zeros}e{}", "0".repeat(usize::try_from(shift).unwrap()), exponent + shift + i32::try_from(digits.len()).unwrap());
        prop_assert_eq!(Decimal::new(&whole), Decimal::new(&small));
        prop_assert_ne!(Decimal::new(&whole), Decimal::new(&format!("{sign}{digits}1e{exponent}")));
        prop_assert_ne!(Decimal::new(&whole), Decimal::new(&format!("{sign}{digits}e{}", exponent + 1)));
    }

    #[test]
    fn any_bytes_are_looked_at_without_a_panic(json in r#"[\[\]{}:, "\\eE+\-.0-9é]{0,60}"#) {
        has_number_beyond_f64(json.as_bytes());
        if let Ok(Number { .. }) = serde_json::from_str::<Number>(&json) {
            has_number_beyond_f64(&json.as_bytes()[1..]);
        }
    }
}

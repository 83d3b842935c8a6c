//! Index keys: the text by which an index on a path lists a document. The schema's function `emt_index_key` computes the same
//! key.
//!
//! The key is one text, compared byte by byte: a digit for the type, and then the value. Strings and numbers therefore share
//! one order, and equal keys are stored once. A string follows its digit unchanged, which needs no call of the function. Keys
//! of numbers sort like the numbers: the sign, the number of digits before the point, and the digits. All non-empty arrays have
//! one key, and so do all objects.
//!
//! The order of an index, and of a sort, is: `[]`, null and missing, strings, numbers, booleans, other arrays, objects.

use serde_json::{Number, Value};

pub(super) const NULL_OR_MISSING: &str = "1";
pub(super) const ARRAY_WITH_ELEMENTS: &str = "5";

const EMPTY_ARRAY: &str = "0";
pub(super) const STRING: &str = "2";
const NUMBER: &str = "3";
const BOOLEAN: &str = "4";
const OBJECT: &str = "6";

/// Offset of the number of digits before the point. That number is from -16,383 to 131,072 in a `numeric`; the sum always has
/// six digits.
const EXPONENT_OFFSET: i32 = 200_000;

/// Returns the key of a value.
pub(super) fn index_key(value: &Value) -> String {
    match value {
        Value::Null => NULL_OR_MISSING.to_owned(),
        Value::Bool(value) => format!("{BOOLEAN}{value}"),
        Value::Number(number) => key_of_number(number),
        Value::String(text) => format!("{STRING}{text}"),
        Value::Array(elements) if elements.is_empty() => EMPTY_ARRAY.to_owned(),
        Value::Array(_) => ARRAY_WITH_ELEMENTS.to_owned(),
        Value::Object(_) => OBJECT.to_owned(),
    }
}

/// Returns the least key of the value's type, and the least key after that type.
pub(super) fn bounds_of_type(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => (NULL_OR_MISSING, STRING),
        Value::String(_) => (STRING, NUMBER),
        Value::Number(_) => (NUMBER, BOOLEAN),
        Value::Bool(_) => (BOOLEAN, ARRAY_WITH_ELEMENTS),
        Value::Array(_) => (ARRAY_WITH_ELEMENTS, OBJECT),
        Value::Object(_) => (OBJECT, "7"),
    }
}

fn key_of_number(number: &Number) -> String {
    let text = number.to_string();
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => (true, mantissa),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return format!("{NUMBER}b");
    }
    let leading_zeros = length(&digits) - length(significant);
    // An exponent outside the range of a `numeric` is refused together with the value.
    let exponent: i32 = exponent.parse().unwrap_or(EXPONENT_OFFSET);
    let exponent = exponent.clamp(-EXPONENT_OFFSET, EXPONENT_OFFSET) + length(whole);
    let exponent = EXPONENT_OFFSET + exponent - leading_zeros;
    let size = format!("{exponent:06}{}", significant.trim_end_matches('0'));
    if is_negative {
        format!("{NUMBER}a{}~", complement(&size))
    } else {
        format!("{NUMBER}c{size}")
    }
}

/// Returns the number of digits, limited to the maximum of a `numeric`.
fn length(digits: &str) -> i32 {
    i32::try_from(digits.len())
        .unwrap_or(i32::MAX)
        .min(EXPONENT_OFFSET)
}

/// Returns digits that sort in reverse order.
fn complement(digits: &str) -> String {
    let opposite = |digit: u8| char::from(b'9' - (digit - b'0'));
    digits.bytes().map(opposite).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_in_the_order_of_the_values() {
        let ordered = r#"[
            [], null, "", "10", "9", "a", "ä", -1.5e300, -9223372036854775808, -10, -9.99, -0.55, -0.5, -1e-300, 0, 1e-300,
            0.012, 0.1, 9, 10, 10.25, 100, 18446744073709551615, 1e300, false, true, [null], {}
        ]"#;
        let ordered: Vec<Value> = serde_json::from_str(ordered).unwrap();
        for pair in ordered.windows(2) {
            assert!(index_key(&pair[0]) < index_key(&pair[1]), "{pair:?}");
        }
        for value in &ordered {
            let (least, behind) = bounds_of_type(value);
            let key = index_key(value);
            let is_empty_array = value.as_array().is_some_and(Vec::is_empty);
            assert!(
                is_empty_array || least <= key.as_str() && key.as_str() < behind,
                "{value}"
            );
        }
    }

    #[test]
    fn equal_numbers_have_one_key() {
        for (one, other) in [
            (json!(1), json!(1.0)),
            (json!(0), json!(-0.0)),
            (json!(1_000_000), json!(1e6)),
            (json!(-2500), json!(-2.5e3)),
        ] {
            assert_eq!(index_key(&one), index_key(&other));
        }
        assert_eq!(index_key(&json!(79.8)), "3c200002798");
    }
}

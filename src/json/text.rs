//! JSON in text form.

use serde::de::{Error as _, IgnoredAny};

use super::error::{DEPTH_LIMIT, Fault, JsonError};

/// Number of digits that PostgreSQL's `numeric` stores before and after the decimal point.
const INTEGER_DIGITS: i64 = 131_072;
const FRACTION_DIGITS: i64 = 16_383;
/// `numeric` accepts no exponent larger than half of a C `int`, not even for zero.
const EXPONENT: i64 = (i32::MAX / 2) as i64;

/// Checks that a text is one JSON value that `jsonb` can store and `serde_json` can read back.
pub(crate) fn check_json_text(text: &[u8]) -> Result<(), JsonError> {
    let text = str::from_utf8(text)
        .map_err(|error| JsonError::Syntax(serde_json::Error::custom(error)))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(JsonError::Syntax)?;
    check_tokens(text, 0).map_err(|TextFault { fault, byte }| fault.at(format!("byte {byte}")))
}

/// The problem with a JSON text, and its byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextFault {
    pub(super) fault: Fault,
    pub(super) byte: usize,
}

/// Checks for texts that JSON allows and `jsonb` does not. `text` is valid JSON, at nesting level `depth` of another text.
pub(super) fn check_tokens(text: &str, mut depth: usize) -> Result<(), TextFault> {
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        let length = match byte {
            b'"' => string_length(&text[at..]),
            b'-' | b'0'..=b'9' => number_length(&text[at..]),
            b'[' | b'{' => {
                depth += 1;
                (depth <= DEPTH_LIMIT).then_some(1).ok_or(Fault::TooDeep)
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                Ok(1)
            }
            _ => Ok(1),
        };
        at += length.map_err(|fault| TextFault { fault, byte: at })?;
    }
    Ok(())
}

fn string_length(text: &str) -> Result<usize, Fault> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(special) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| matches!(byte, b'"' | b'\\')))
    {
        at += special;
        if bytes[at] == b'"' {
            return Ok(at + 1);
        }
        at += escape_length(&text[at..])?;
    }
    Ok(text.len())
}

fn escape_length(text: &str) -> Result<usize, Fault> {
    const SHORT: usize = r"\n".len();
    const UNICODE: usize = r"\u0000".len();
    match escaped_code_unit(text) {
        None => Ok(SHORT),
        Some(0) => Err(Fault::NulCharacter),
        Some(0xD800..=0xDBFF) => match text.get(UNICODE..).and_then(escaped_code_unit) {
            Some(0xDC00..=0xDFFF) => Ok(2 * UNICODE),
            _ => Err(Fault::LoneSurrogate),
        },
        Some(0xDC00..=0xDFFF) => Err(Fault::LoneSurrogate),
        Some(_) => Ok(UNICODE),
    }
}

fn escaped_code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(r"\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

fn number_length(text: &str) -> Result<usize, Fault> {
    let ends_number = |byte: u8| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let length = text.bytes().position(ends_number).unwrap_or(text.len());
    let fits = fits_numeric(&text[..length]);
    fits.then_some(length).ok_or(Fault::NumberOutOfRange)
}

fn fits_numeric(number: &str) -> bool {
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let digits = digits.trim_start_matches('-');
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let Ok(exponent) = exponent.parse::<i64>() else {
        return false;
    };
    exponent.abs() < EXPONENT
        && integer_digits(integer, fraction) + exponent <= INTEGER_DIGITS
        && digit_count(fraction) - exponent <= FRACTION_DIGITS
}

/// Returns the number of digits before the decimal point, without leading zeros: 2 for `10.5`, 0 for `0.5`, -2 for `0.005`.
fn integer_digits(integer: &str, fraction: &str) -> i64 {
    if integer != "0" {
        return digit_count(integer);
    }
    let significant = fraction.trim_start_matches('0');
    if significant.is_empty() {
        return i64::MIN / 2;
    }
    digit_count(significant) - digit_count(fraction)
}

fn digit_count(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX / 2)
}

//! Numbers that `serde_json` would change, because its numbers are `i64`, `u64` and `f64`.

#[cfg(test)]
mod tests;

use std::ops::Range;

use serde_json::Number;

/// A shorter number without an exponent has at most 15 digits and is neither huge nor tiny, so `f64` represents it.
const SUSPECT: usize = 16;
/// Length of the shortest number that is changed, such as `1e999`.
const SHORTEST_SUSPECT: usize = 5;

/// Whether a valid JSON text contains a number that a [`serde_json::Value`] would silently change.
///
/// Checks only every fifth byte: every number that matters covers one of them.
pub(crate) fn has_number_beyond_f64(json: &[u8]) -> bool {
    let mut at = SHORTEST_SUSPECT - 1;
    while let Some(byte) = json.get(at) {
        if !can_be_in_number(*byte) {
            at += SHORTEST_SUSPECT;
            continue;
        }
        let run = run_around(json, at);
        if starts_value(json, run.start) && is_beyond_f64(&json[run.clone()]) {
            // The digits may be in a string, which only a scan from the beginning can tell.
            return numbers(json).any(is_beyond_f64);
        }
        at = run.end + SHORTEST_SUSPECT;
    }
    false
}

fn can_be_in_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

fn run_around(json: &[u8], at: usize) -> Range<usize> {
    let ends_run = |byte: &u8| !can_be_in_number(*byte);
    let before = json[..at].iter().rposition(ends_run);
    let after = json[at..].iter().position(ends_run);
    before.map_or(0, |before| before + 1)..after.map_or(json.len(), |after| at + after)
}

fn starts_value(json: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| json[before]);
    matches!(
        before,
        None | Some(b' ' | b'\n' | b'\r' | b'\t' | b':' | b',' | b'[')
    )
}

/// Returns the numbers of a JSON text, without those in strings.
fn numbers(json: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = json;
    std::iter::from_fn(move || {
        loop {
            let start = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'))?;
            rest = &rest[start..];
            if rest[0] == b'"' {
                rest = after_string(rest);
                continue;
            }
            let length = rest.iter().position(|byte| !can_be_in_number(*byte));
            let (number, after) = rest.split_at(length.unwrap_or(rest.len()));
            rest = after;
            return Some(number);
        }
    })
}

fn after_string(json: &[u8]) -> &[u8] {
    let mut escaped = false;
    let end = json.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(&[], |end| &json[end + 2..])
}

/// Whether a JSON number changes when `serde_json` reads and writes it.
fn is_beyond_f64(number: &[u8]) -> bool {
    if number.len() < SUSPECT && !number.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return false;
    }
    let Ok(number) = str::from_utf8(number) else {
        return false;
    };
    // Integers beyond `f64` stay unchanged. A text that fails to parse is too large for a number.
    match serde_json::from_str::<Number>(number) {
        Ok(read) => !read.is_i64() && !read.is_u64() && !same_value(&read.to_string(), number),
        Err(_) => true,
    }
}

fn same_value(left: &str, right: &str) -> bool {
    left == right || Decimal::new(left) == Decimal::new(right)
}

/// A JSON number as its digits, without leading and trailing zeros, times a power of ten.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn new(number: &str) -> Self {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let negative = mantissa.starts_with('-');
        let mantissa = mantissa.trim_start_matches('-');
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));

        let all = format!("{integer}{fraction}");
        let significant = all.trim_end_matches('0');
        let shift = length(&all) - length(significant) - length(fraction);
        let digits = significant.trim_start_matches('0').to_owned();
        let exponent = match digits.as_str() {
            "" => 0,
            // An exponent out of `i64`'s range is negative here: with a positive one, only zero can be read.
            _ => exponent.parse().unwrap_or(i64::MIN).saturating_add(shift),
        };
        Self {
            negative,
            digits,
            exponent,
        }
    }
}

fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX / 4)
}

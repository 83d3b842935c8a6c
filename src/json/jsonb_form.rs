//! JSON as `jsonb` writes it, without a server.

#[cfg(test)]
mod tests;

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Returns a valid JSON text as PostgreSQL's `jsonb` writes it: keys sorted, the last one of equal keys, numbers in decimal.
pub(crate) fn jsonb_form(json: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut written = Vec::with_capacity(json.len() + json.len() / 8);
    write_value(serde_json::from_slice(json)?, &mut written)?;
    Ok(written)
}

fn write_value(json: &RawValue, written: &mut Vec<u8>) -> serde_json::Result<()> {
    let text = json.get();
    match text.as_bytes().first() {
        Some(b'{') => write_object(text, written)?,
        Some(b'[') => write_array(text, written)?,
        Some(b'"') => write_string(&serde_json::from_str::<String>(text)?, written)?,
        Some(b'-' | b'0'..=b'9') => written.extend_from_slice(decimal(text).as_bytes()),
        _ => written.extend_from_slice(text.as_bytes()),
    }
    Ok(())
}

fn write_object(text: &str, written: &mut Vec<u8>) -> serde_json::Result<()> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    let mut fields: Vec<(String, &RawValue)> = fields.into_iter().collect();
    // Shorter keys come first. The sort is stable, so keys of one length keep the order of their bytes.
    fields.sort_by_key(|(name, _)| name.len());
    written.push(b'{');
    for (number, (name, value)) in fields.into_iter().enumerate() {
        separate(number, written);
        write_string(&name, written)?;
        written.extend_from_slice(b": ");
        write_value(value, written)?;
    }
    written.push(b'}');
    Ok(())
}

fn write_array(text: &str, written: &mut Vec<u8>) -> serde_json::Result<()> {
    written.push(b'[');
    let values: Vec<&RawValue> = serde_json::from_str(text)?;
    for (number, value) in values.into_iter().enumerate() {
        separate(number, written);
        write_value(value, written)?;
    }
    written.push(b']');
    Ok(())
}

fn separate(number: usize, written: &mut Vec<u8>) {
    if number > 0 {
        written.extend_from_slice(b", ");
    }
}

fn write_string(text: &str, written: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(written, text)
}

/// Returns a JSON number as PostgreSQL's `numeric` writes it: without an exponent, with its trailing zeros.
fn decimal(number: &str) -> String {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    // PostgreSQL refuses an exponent that does not fit, so it never gets here.
    let exponent: i64 = exponent.parse().unwrap_or_default();
    let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => (true, mantissa),
        None => (false, mantissa),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{integer}{fraction}");
    let point = length(integer) + exponent;
    let scale = (length(fraction) - exponent).max(0);
    let digit = |place: i64| {
        let index = usize::try_from(place).ok();
        index
            .and_then(|index| digits.as_bytes().get(index))
            .map_or('0', |digit| char::from(*digit))
    };
    let whole: String = (0..point).map(digit).collect();
    let whole = whole.trim_start_matches('0');
    let part: String = (point..point + scale).map(digit).collect();
    let has_value = !whole.is_empty() || part.bytes().any(|digit| digit != b'0');
    let sign = if is_negative && has_value { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    if part.is_empty() {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{part}")
}

fn length(digits: &str) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX / 4)
}

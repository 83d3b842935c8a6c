//! The values of filters, sorts and updates.

use crate::json::{JsonError, to_json};
use serde::Serialize;
use serde_json::Value;

/// Converts a value to JSON that `jsonb` can store.
pub(crate) fn operand(value: impl Serialize) -> Result<Value, JsonError> {
    let json = to_json(&value)?;
    // Refuses integers beyond 64 bits, which the next line would convert to floats.
    serde_json::to_value(&value).map_err(JsonError::Serde)?;
    // Parsed from text, because a 32-bit float has its shortest form there.
    serde_json::from_slice(&json).map_err(JsonError::Serde)
}

/// Parses the 1 or -1 of a sort or of `$pop`.
pub(crate) fn direction(value: &Value) -> Option<i64> {
    match value.as_f64() {
        Some(1.0) => Some(1),
        Some(-1.0) => Some(-1),
        _ => None,
    }
}

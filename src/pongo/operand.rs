//! The values that filters, sorts and updates work with.

use crate::json::{JsonError, to_json};
use serde::Serialize;
use serde_json::Value;

/// A value as JSON that `jsonb` keeps.
pub(crate) fn operand(value: impl Serialize) -> Result<Value, JsonError> {
    let json = to_json(&value)?;
    // Refuses integers beyond 64 bits, which the next line would make a float of.
    serde_json::to_value(&value).map_err(JsonError::Serde)?;
    // From the text, where a 32-bit float has its shortest form.
    serde_json::from_slice(&json).map_err(JsonError::Serde)
}

/// 1 or -1, of a sort or of `$pop`.
pub(crate) fn direction(value: &Value) -> Option<i64> {
    match value.as_f64() {
        Some(1.0) => Some(1),
        Some(-1.0) => Some(-1),
        _ => None,
    }
}

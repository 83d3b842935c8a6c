//! The values that filters and updates are built with.

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

//! The fields that a filter compares by equality, which is what an upsert makes a document of.

use serde_json::Value;

/// The paths and values of `{"a": 1}`, `{"a": {"$eq": 1}}`, and those inside of `$and`; without the columns.
pub(crate) fn equal_fields(filter: &Value) -> Vec<(&str, &Value)> {
    let Some(entries) = filter.as_object() else {
        return Vec::new();
    };
    let mut fields = Vec::new();
    for (key, operand) in entries {
        match key.as_str() {
            "$and" => {
                let branches = operand.as_array().into_iter().flatten();
                fields.extend(branches.flat_map(equal_fields));
            }
            "_id" | "_version" => {}
            path if path.starts_with('$') => {}
            path => fields.extend(equal_value(operand).map(|value| (path, value))),
        }
    }
    fields
}

fn equal_value(operand: &Value) -> Option<&Value> {
    match operand.as_object() {
        Some(operators) if operators.keys().any(|key| key.starts_with('$')) => operators.get("$eq"),
        _ => Some(operand),
    }
}

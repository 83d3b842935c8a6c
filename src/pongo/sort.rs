//! MongoDB's sort documents as the text behind `ORDER BY`.

use serde_json::{Value, json};

use super::{column::Column, field_path::Target, filter_error::FilterError};

/// Translates a sort document such as `{"totalAmount": -1}` into the list behind `ORDER BY`.
///
/// Several keys are written as an array of one-key objects, `[{"totalAmount": -1}, {"name": 1}]`, or as one
/// object where `serde_json` keeps the order of its keys. `_id` breaks ties, so the order is always total.
pub(crate) fn sort_order(sort: &Value) -> Result<String, FilterError> {
    let mut order = Vec::new();
    let mut by_id = false;
    let mut direction = "ASC";
    for (path, value) in entries(sort)? {
        direction = direction_of(path, value)?;
        let target = Target::parse(path)?;
        by_id |= matches!(target, Target::Column(Column::Id));
        order.extend(
            target
                .sort_keys()
                .into_iter()
                .map(|key| format!("{key} {direction}")),
        );
    }
    if !by_id {
        // In the direction of the last key, so that one index can be read forwards and backwards.
        order.push(format!(
            "{}{} {direction}",
            Column::Id.name(),
            Column::Id.collation()
        ));
    }
    Ok(order.join(", "))
}

fn entries(sort: &Value) -> Result<Vec<(&String, &Value)>, FilterError> {
    match sort {
        Value::Object(keys) if keys.len() > 1 && !objects_keep_their_order() => Err(refused(
            sort,
            "write several keys as an array of objects, because their order counts",
        )),
        Value::Object(keys) => Ok(keys.iter().collect()),
        Value::Array(objects) => objects.iter().map(only_entry).collect(),
        _ => Err(refused(
            sort,
            "a sort document is an object of fields with 1 or -1",
        )),
    }
}

fn only_entry(object: &Value) -> Result<(&String, &Value), FilterError> {
    let keys = object.as_object().filter(|keys| keys.len() == 1);
    keys.and_then(|keys| keys.iter().next()).ok_or_else(|| {
        refused(
            object,
            "each entry of the array is an object with one field",
        )
    })
}

fn direction_of(path: &str, direction: &Value) -> Result<&'static str, FilterError> {
    match direction.as_f64() {
        Some(1.0) => Ok("ASC"),
        Some(-1.0) => Ok("DESC"),
        _ => Err(FilterError::InvalidSort {
            path: path.to_owned(),
            reason: "the direction is 1 or -1",
        }),
    }
}

/// Whether some crate of the program has turned on `serde_json`'s feature `preserve_order`.
fn objects_keep_their_order() -> bool {
    json!({"b": 0, "a": 0})
        .as_object()
        .and_then(|object| object.keys().next())
        .is_some_and(|key| key == "b")
}

fn refused(sort: &Value, reason: &'static str) -> FilterError {
    FilterError::InvalidSort {
        path: sort.to_string(),
        reason,
    }
}

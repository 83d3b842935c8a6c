//! MongoDB's sort documents as the text behind `ORDER BY`.

use serde_json::Value;

use super::{column::Column, field_path::Target, filter_error::FilterError};

/// Translates a sort document such as `{"totalAmount": -1}` into the list behind `ORDER BY`.
///
/// The first of several keys counts most. An object keeps their order by `serde_json`'s feature `preserve_order`, which
/// this crate turns on; where keys come from something without an order, an array of objects says it:
/// `[{"totalAmount": -1}, {"name": 1}]`. `_id` breaks ties, so the order is total.
pub(crate) fn sort_order(sort: &Value) -> Result<String, FilterError> {
    let mut order = Vec::new();
    let mut names_id = false;
    let mut direction = "ASC";
    for (path, value) in entries(sort)? {
        let target = Target::parse(path)?;
        direction = direction_of(path, value)?;
        names_id |= matches!(target, Target::Column(Column::Id));
        order.extend(
            target
                .sort_keys()
                .iter()
                .map(|key| format!("{key} {direction}")),
        );
    }
    if !names_id {
        // In the direction of the last key, so that one index serves the order forwards and backwards.
        order.push(format!("{} {direction}", Column::Id.sort_key()));
    }
    Ok(order.join(", "))
}

fn entries(sort: &Value) -> Result<Vec<(&String, &Value)>, FilterError> {
    match sort {
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

fn refused(sort: &Value, reason: &'static str) -> FilterError {
    FilterError::InvalidSort {
        path: sort.to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_id_breaks_ties_in_the_direction_of_the_last_key() {
        let by_version = json!({"_version": -1});

        assert_eq!(
            sort_order(&json!({})).as_deref(),
            Ok("_id COLLATE \"C\" ASC")
        );
        assert_eq!(
            sort_order(&by_version).as_deref(),
            Ok("_version DESC, _id COLLATE \"C\" DESC")
        );
        assert_eq!(
            sort_order(&json!({"_id": -1.0})).as_deref(),
            Ok("_id COLLATE \"C\" DESC")
        );
    }

    #[test]
    fn a_field_is_sorted_by_the_columns_of_its_index() {
        let [value, string] = Target::parse("total")
            .unwrap()
            .sort_keys()
            .try_into()
            .unwrap();

        let order = sort_order(&json!({"total": -1})).unwrap();

        assert_eq!(
            order,
            format!("{value} DESC, {string} DESC, _id COLLATE \"C\" DESC")
        );
    }

    #[test]
    fn keys_keep_their_order() {
        let expected = Ok("_version DESC, _id COLLATE \"C\" ASC");

        assert_eq!(
            sort_order(&json!({"_version": -1, "_id": 1})).as_deref(),
            expected
        );
        assert_eq!(
            sort_order(&json!([{"_version": -1}, {"_id": 1}])).as_deref(),
            expected
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (
                json!("total"),
                "cannot sort by `\"total\"`: a sort document is an object of fields with 1 or -1",
            ),
            (
                json!({"total": "asc"}),
                "cannot sort by `total`: the direction is 1 or -1",
            ),
            (
                json!({"total": 2}),
                "cannot sort by `total`: the direction is 1 or -1",
            ),
            (
                json!([{"a": 1, "b": 1}]),
                "cannot sort by `{\"a\":1,\"b\":1}`: each entry of the array is an object with one field",
            ),
            (
                json!({"$natural": 1}),
                "`$natural` is not a field: its names must not begin with `$`",
            ),
        ];
        for (sort, expected) in cases {
            assert_eq!(sort_order(&sort).unwrap_err().to_string(), expected);
        }
    }
}

//! What a filter looks like, for those who run it.

use serde_json::Value;

/// The id of the only document that can match, when the filter says `_id` equals it.
#[cfg_attr(not(test), allow(dead_code, reason = "for lookups by id"))]
pub(crate) fn pinned_id(filter: &Value) -> Option<&str> {
    let entries = filter.as_object()?;
    let here = entries
        .get("_id")
        .and_then(equal_to)
        .and_then(Value::as_str);
    here.or_else(|| {
        let branches = entries.get("$and").and_then(Value::as_array);
        branches.into_iter().flatten().find_map(pinned_id)
    })
}

/// Whether the filter only compares fields that stand directly in the document for equality with strings, numbers or
/// booleans, so that one plan is good for all values.
#[cfg_attr(not(test), allow(dead_code, reason = "for prepared statements"))]
pub(crate) fn is_plain_equality(filter: &Value) -> bool {
    let Some(entries) = filter.as_object().filter(|entries| !entries.is_empty()) else {
        return false;
    };
    entries.iter().all(|(key, condition)| {
        if key == "$and" {
            let branches = condition.as_array();
            return branches.is_some_and(|branches| branches.iter().all(is_plain_equality));
        }
        let is_top_level = !key.starts_with('$') && !key.contains('.');
        is_top_level && equal_to(condition).is_some_and(is_scalar)
    })
}

/// What the condition asks for equality with: all but other operators than `$eq`.
fn equal_to(condition: &Value) -> Option<&Value> {
    match condition {
        Value::Object(operators) if operators.len() == 1 => operators.get("$eq"),
        Value::Object(_) => None,
        value => Some(value),
    }
}

fn is_scalar(value: &Value) -> bool {
    value.is_string() || value.is_number() || value.is_boolean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_id_is_pinned_by_equality_with_a_string() {
        for pinned in [
            json!({"_id": "a"}),
            json!({"_id": {"$eq": "a"}, "total": {"$gt": 1}}),
            json!({"$and": [{"total": 1}, {"_id": "a"}]}),
        ] {
            assert_eq!(pinned_id(&pinned), Some("a"), "{pinned}");
        }
        for open in [
            json!({}),
            json!("a"),
            json!({"_id": 1}),
            json!({"_id": {"$in": ["a"]}}),
            json!({"_id": {"$eq": "a", "$ne": "b"}}),
            json!({"$or": [{"_id": "a"}]}),
            json!({"x": {"_id": "a"}}),
        ] {
            assert_eq!(pinned_id(&open), None, "{open}");
        }
    }

    #[test]
    fn equality_of_fields_with_scalars_is_plain() {
        for plain in [
            json!({"a": 1}),
            json!({"a": {"$eq": "x"}, "_id": "y", "b": true}),
            json!({"$and": [{"a": 1}, {"b": 2}]}),
        ] {
            assert!(is_plain_equality(&plain), "{plain}");
        }
        for other in [
            json!({}),
            json!([]),
            json!({"a": null}),
            json!({"a": [1]}),
            json!({"a": {}}),
            json!({"a": {"b": 1}}),
            json!({"a": {"$gt": 1}}),
            json!({"a": {"$eq": 1, "$exists": true}}),
            json!({"a": {"$in": [1]}}),
            json!({"a.b": 1}),
            json!({"$or": [{"a": 1}]}),
            json!({"$and": [{"a": 1}, {"b": {"$lt": 2}}]}),
            json!({"$and": 1}),
        ] {
            assert!(!is_plain_equality(&other), "{other}");
        }
    }
}

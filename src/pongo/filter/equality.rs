//! Equality in SQL's JSON path language, which a GIN index on `data` serves.

use serde_json::Value;

use super::condition::{Condition, ElementCondition, Predicate, is_scalar};
use crate::pongo::dotted_path::DottedPath;

/// Maximum number of values in a JSON path predicate, which tests them one after the other. A longer list is searched by hash,
/// and a GIN index does not serve that.
pub(super) const MOST_VALUES_IN_JSON_PATH: usize = 32;

/// Returns JSON path predicates on a document that follow from the condition on an element of the array at the path.
pub(super) fn equalities_of_elements(path: &DottedPath, element: &ElementCondition) -> Vec<String> {
    match element {
        ElementCondition::Value(predicates) => equalities(&path.json_path(), predicates),
        ElementCondition::Object(condition) => equalities_of_fields(&path.json_path(), condition),
    }
}

fn equalities_of_fields(path: &str, condition: &Condition) -> Vec<String> {
    match condition {
        Condition::All(conditions) => {
            let conditions = conditions.iter();
            conditions
                .flat_map(|condition| equalities_of_fields(path, condition))
                .collect()
        }
        Condition::Field(field, predicates) if !field.is_positional() => {
            equalities(&[path, &field.json_path()].concat(), predicates)
        }
        _ => Vec::new(),
    }
}

/// Returns the equality tests with scalars among the predicates.
fn equalities(path: &str, predicates: &[Predicate]) -> Vec<String> {
    predicates
        .iter()
        .filter_map(Predicate::values)
        .filter(|values| (1..=MOST_VALUES_IN_JSON_PATH).contains(&values.len()))
        .filter(|values| values.iter().all(is_scalar))
        .map(|values| format!("({})", equal_to_any_in_json_path(path, values)))
        .collect()
}

pub(super) fn equal_to_any_in_json_path<'v>(
    path: &str,
    scalars: impl IntoIterator<Item = &'v Value>,
) -> String {
    let scalars = scalars.into_iter();
    let terms = scalars.map(|scalar| ["@", path, " == ", &json_text(scalar)].concat());
    terms.collect::<Vec<_>>().join(" || ")
}

/// Returns a scalar in the JSON path language, which has the syntax of JSON.
pub(super) fn json_text(scalar: &Value) -> String {
    // A value can always be serialized.
    serde_json::to_string(scalar).unwrap_or_default()
}

//! Conditions on an element of an array, for `$elemMatch` in filters and `$pull` in updates.

use super::boolean_logic::all_of;
use super::condition::document_condition;
use super::error::FilterError;
use super::field_condition::field_condition;
use super::field_path::FieldPath;
use super::predicate::{ElementFilter, element_filter, equal};
use super::source::Source;
use super::sql_parameters::SqlParameters;
use super::value_condition::value_condition;
use serde_json::Value;

/// The condition that an element satisfies what stands behind `$elemMatch`. It is TRUE or FALSE, never NULL.
///
/// `element` is an SQL expression of type `jsonb` that is never NULL. An object of operators is about the element itself,
/// also when that is an array; every other object is a filter for an element that is an object.
#[cfg_attr(not(test), expect(dead_code, reason = "for updates"))]
pub(crate) fn element_condition(
    condition: &Value,
    element: &str,
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    let filter = element_filter("$elemMatch", "an element", condition)?;
    element_matches(element, &filter, parameters)
}

/// The condition that `{"$pull": {path: condition}}` takes the element out. It is TRUE or FALSE, never NULL.
///
/// `element` is an SQL expression of type `jsonb` that is never NULL. An object of operators is about the element as if it
/// were the value of a field, so it also looks at the elements of an element that is an array; every other object is a
/// filter for an element that is an object; all else is what the element has to be equal to.
pub(crate) fn pull_condition(
    path: &str,
    condition: &Value,
    element: &str,
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    if !condition.is_object() {
        let equal = equal(path, condition)?;
        return value_condition(element, &[equal], parameters);
    }
    match element_filter("$pull", path, condition)? {
        ElementFilter::Value(predicates) => {
            let wrapped = format!("pg_catalog.jsonb_build_object('element', {element})");
            let path = FieldPath::parse("element")?;
            field_condition(Source::Element(&wrapped), &path, &predicates, parameters)
        }
        filter @ ElementFilter::Object(_) => element_matches(element, &filter, parameters),
    }
}

/// The condition that the element, an SQL expression that is never NULL, matches the filter.
pub(super) fn element_matches(
    element: &str,
    filter: &ElementFilter<'_>,
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    match filter {
        ElementFilter::Value(predicates) => value_condition(element, predicates, parameters),
        ElementFilter::Object(filter) => {
            let is_object = format!("pg_catalog.jsonb_typeof({element}) = 'object'");
            let source = Source::Element(element);
            let matches =
                document_condition(source, "the filter of an element", filter, parameters)?;
            Ok(all_of(vec![is_object, matches]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::condition::filter_condition;
    use super::*;
    use serde_json::json;

    fn element(condition: &Value) -> String {
        element_condition(condition, "item.value", &mut SqlParameters::new()).unwrap()
    }

    fn pulled(condition: &Value) -> String {
        pull_condition("items", condition, "item.value", &mut SqlParameters::new()).unwrap()
    }

    fn message(condition: &Value) -> String {
        filter_condition(
            &json!({"items": condition}),
            "public",
            &mut SqlParameters::new(),
        )
        .unwrap_err()
        .to_string()
    }

    #[test]
    fn operators_are_about_the_element_and_fields_about_an_object() {
        assert_eq!(element(&json!({"$eq": 7})), "item.value = $1::jsonb");
        assert_eq!(
            element(&json!({"$gte": 7, "$ne": 8})),
            "(item.value @? $1::jsonpath AND (NOT item.value = $2::jsonb))"
        );
        assert_eq!(
            element(&json!({"sku": "x"})),
            "(pg_catalog.jsonb_typeof(item.value) = 'object' AND item.value @? $1::jsonpath)"
        );
        assert_eq!(
            element(&json!({})),
            "(pg_catalog.jsonb_typeof(item.value) = 'object' AND TRUE)"
        );
    }

    #[test]
    fn an_element_has_no_columns() {
        for field in ["_id", "_version", "_id.x"] {
            assert_eq!(
                element(&json!({field: 1})),
                "(pg_catalog.jsonb_typeof(item.value) = 'object' AND item.value @? $1::jsonpath)"
            );
        }
    }

    #[test]
    fn what_is_pulled_is_equal_or_matches() {
        for value in [json!("x"), json!(null), json!([1, 2])] {
            assert_eq!(pulled(&value), "item.value = $1::jsonb");
        }
        assert_eq!(
            pulled(&json!({"$in": ["x", 1]})),
            "pg_catalog.jsonb_build_object('element', item.value) @? $1::jsonpath"
        );
        assert_eq!(pulled(&json!({"sku": "x"})), element(&json!({"sku": "x"})));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (
                json!({"$elemMatch": 7}),
                "`$elemMatch` of `items` needs an object with operators or fields, not a number",
            ),
            (
                json!({"$elemMatch": {"$gt": 1, "sku": 1}}),
                "`items` mixes the operator `$gt` with the plain key `sku`",
            ),
            (
                json!({"$elemMatch": {"$or": [{"sku": 1}], "$gt": 1}}),
                "the operator `$gt` is not supported beside the fields of a filter",
            ),
            (
                json!({"$elemMatch": {"sku": {"$foo": 1}}}),
                "the operator `$foo` is not supported for the field `sku`",
            ),
            (
                json!({"$elemMatch": {"$or": [{"$gt": 1}]}}),
                "the operator `$gt` is not supported beside the fields of a filter",
            ),
        ];
        for (condition, expected) in cases {
            assert_eq!(message(&condition), expected);
        }
    }
}

//! MongoDB's filters as SQL conditions over the table of one collection.
//!
//! Every condition is TRUE or FALSE, never NULL, so that `NOT` keeps the documents in which a field is missing.
//! It takes for granted that `data` is an object.
//!
//! A condition on a field has two parts, joined by `AND`: the exact one, which a GIN index on `data` (`jsonb_path_ops`)
//! serves when it tests equality; and what follows from it for a B-tree index on the path. For `{"age": 7}`, with `age_key`
//! for what such an index lists:
//!
//! ```sql
//! (data @> '{"age": 7}' OR data @> '{"age": [7]}') AND age_key = ANY(ARRAY['3c2000017', '5'])
//! ```
//!
//! Other predicates are exact by a JSON path: `data @? '$ ? (@."age" > 7)'`.
//!
//! A generic plan knows too little of such a condition to choose an index well. Run it by `query_typed`, whose
//! unnamed statements are planned with their values.

use serde_json::Value;

use super::boolean_logic::{all_of, any_of, negated};
use super::error::FilterError;
use super::field_condition::field_condition;
use super::field_path::Target;
use super::predicate::{predicates, type_name};
use super::source::Source;
use super::sql_parameters::SqlParameters;

/// Translates a filter into a condition for `WHERE`; its values go to `parameters`.
///
/// The condition reads the columns `_id`, `_version` and `data` without a table name. `{}` matches everything.
pub(crate) fn filter_condition(
    filter: &Value,
    schema: &str,
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    let source = Source::Document { schema };
    document_condition(source, "the filter", filter, parameters)
}

/// The condition that the fields of the source match the filter, for a source that is an object.
pub(super) fn document_condition(
    source: Source<'_>,
    place: &str,
    filter: &Value,
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    let Value::Object(entries) = filter else {
        return Err(FilterError::NotAnObject {
            place: place.to_owned(),
            found: type_name(filter),
        });
    };
    let conditions = entries
        .iter()
        .map(|(key, operand)| entry(source, key, operand, parameters));
    conditions.collect::<Result<_, _>>().map(all_of)
}

fn entry(
    source: Source<'_>,
    key: &str,
    operand: &Value,
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    match key {
        "$and" => branches(source, key, operand, parameters).map(all_of),
        "$or" => branches(source, key, operand, parameters).map(any_of),
        "$nor" => {
            branches(source, key, operand, parameters).map(|branches| negated(&any_of(branches)))
        }
        _ if key.starts_with('$') => Err(FilterError::UnknownOperator {
            operator: key.to_owned(),
            place: "beside the fields of a filter".to_owned(),
        }),
        _ => field(source, key, operand, parameters),
    }
}

fn branches(
    source: Source<'_>,
    operator: &str,
    operand: &Value,
    parameters: &mut SqlParameters,
) -> Result<Vec<String>, FilterError> {
    let Some(branches) = operand.as_array().filter(|branches| !branches.is_empty()) else {
        return Err(FilterError::NoBranches {
            operator: operator.to_owned(),
        });
    };
    let place = format!("each entry of `{operator}`");
    branches
        .iter()
        .map(|branch| document_condition(source, &place, branch, parameters))
        .collect()
}

fn field(
    source: Source<'_>,
    key: &str,
    operand: &Value,
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    let target = Target::in_source(source, key)?;
    let predicates = predicates(key, operand)?;
    match target {
        Target::Column(column) => column.condition(&predicates, parameters),
        Target::Field(path) => field_condition(source, &path, &predicates, parameters),
    }
}

#[cfg(test)]
mod tests {
    use super::super::field_path::index_expression;
    use super::super::sql_parameters::SqlValue;
    use super::*;
    use serde_json::json;

    /// The condition, behind one parameter of the caller's.
    fn condition(filter: &Value) -> String {
        let mut parameters = SqlParameters::new();
        parameters.push(SqlValue::Text("tenant".to_owned()));
        filter_condition(filter, "public", &mut parameters).unwrap()
    }

    fn message(filter: &Value) -> String {
        filter_condition(filter, "public", &mut SqlParameters::new())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_empty_filter_matches_everything_and_an_empty_list_nothing() {
        assert_eq!(condition(&json!({})), "TRUE");
        assert_eq!(condition(&json!({"_id": {"$in": []}})), "FALSE");
        assert_eq!(condition(&json!({"_id": {"$nin": []}})), "(NOT FALSE)");
    }

    #[test]
    fn columns_are_compared_as_columns() {
        assert_eq!(condition(&json!({"_id": "a"})), "_id = $2::text");
        assert_eq!(
            condition(&json!({"_id": {"$in": ["a", "b"]}})),
            "_id = ANY($2::text[])"
        );
        assert_eq!(
            condition(&json!({"_id": {"$gt": "a"}})),
            "_id > $2::text COLLATE \"C\""
        );
        assert_eq!(
            condition(&json!({"_version": {"$lte": 7}})),
            "_version <= $2::bigint"
        );
        assert_eq!(
            condition(&json!({"_version": {"$not": {"$in": [1, 2]}}})),
            "(NOT _version = ANY($2::bigint[]))"
        );
    }

    #[test]
    fn a_field_is_compared_exactly_and_by_a_range_of_its_index() {
        let age = index_expression("age", "public").unwrap();
        let equal = "(data @> $2::jsonb OR data @> $3::jsonb)";

        assert_eq!(
            condition(&json!({"age": 7})),
            format!("({equal} AND {age} = ANY(ARRAY[$4::text, '5']))")
        );
        assert_eq!(
            condition(&json!({"age": {"$in": ["x", "y"]}})),
            format!("(data @? $2::jsonpath AND {age} = ANY($3::text[]))")
        );
        assert_eq!(
            condition(&json!({"age": {"$gt": "x"}})),
            format!("(data @? $2::jsonpath AND {age} > $3::text)")
        );
        assert_eq!(
            condition(&json!({"age": {"$gt": 1, "$lte": 7}})),
            format!(
                "((data @? $2::jsonpath AND data @? $3::jsonpath) AND \
                 ((({age} > $4::text AND {age} < '4') AND ({age} <= $5::text AND {age} >= '3')) OR {age} = '5'))"
            )
        );
        assert_eq!(
            condition(&json!({"age": {"$ne": 7}})),
            format!("(NOT {equal})")
        );
        assert_eq!(
            condition(&json!({"age": {"$exists": true}})),
            "data @? $2::jsonpath"
        );
    }

    #[test]
    fn a_dotted_path_also_looks_where_the_index_has_null() {
        assert!(condition(&json!({"a.b": {"$gte": 7}})).ends_with("= '1'))"));
        assert!(!condition(&json!({"a.0": {"$gte": 7}})).contains("CASE"));
    }

    #[test]
    fn branches_are_joined_in_parentheses() {
        let branches = json!([{"_id": "a"}, {"_version": 1, "_id": "b"}]);
        let both = "_id = $2::text";
        let or = format!("({both} OR (_version = $3::bigint AND _id = $4::text))");

        assert_eq!(condition(&json!({"$or": branches})), or);
        assert_eq!(condition(&json!({"$nor": branches})), format!("(NOT {or})"));
        assert_eq!(
            condition(&json!({"$and": branches})),
            or.replacen("OR", "AND", 1)
        );
    }

    #[test]
    fn values_never_stand_in_the_text() {
        let value = "'; DROP TABLE carts; --";
        for filter in [
            json!({"a": value}),
            json!({"a.0": {"$gt": value}}),
            json!({"a": {"$in": [value, {"b": value}, [value]]}}),
            json!({"_id": {"$nin": [value, value]}}),
            json!({"$or": [{"a.b": {"$not": {"$lt": value}}}]}),
        ] {
            assert!(!condition(&filter).contains("DROP"), "{filter}");
        }
    }

    #[test]
    fn what_mongodb_has_beyond_is_refused_by_name() {
        for operator in ["$expr", "$where", "$text", "$jsonSchema", "$comment"] {
            assert_eq!(
                message(&json!({operator: 1})),
                format!("the operator `{operator}` is not supported beside the fields of a filter")
            );
        }
        for operator in ["$mod", "$bitsAllSet", "$near"] {
            assert_eq!(
                message(&json!({"a": {operator: 1}})),
                format!("the operator `{operator}` is not supported for the field `a`")
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (json!(7), "the filter must be an object, not a number"),
            (
                json!({"$or": [{}, []]}),
                "each entry of `$or` must be an object, not an array",
            ),
            (
                json!({"$and": []}),
                "`$and` needs an array of filters with at least one entry",
            ),
            (
                json!({"$nor": {}}),
                "`$nor` needs an array of filters with at least one entry",
            ),
            (
                json!({"$gt": 1}),
                "the operator `$gt` is not supported beside the fields of a filter",
            ),
            (
                json!({"a..b": 1}),
                "`a..b` is not a field: it has an empty name",
            ),
            (
                json!({"_id": 7}),
                "`_id` compares with strings only, not with a number",
            ),
            (
                json!({"_version": {"$gt": 1.5}}),
                "`_version` compares with 64-bit integers only, not with a number",
            ),
        ];
        for (filter, expected) in cases {
            assert_eq!(message(&filter), expected);
        }
    }
}

use super::super::Filter;
use super::super::error::FilterError;
use super::super::error::tests::check_refused;
use super::super::parser;
use super::super::sql_parameters::SqlValue;
use super::super::target::Target;
use super::*;
use serde_json::json;

/// Returns the condition, with one parameter before its own.
fn condition(filter: &Value) -> String {
    let mut parameters = SqlParameters::new();
    parameters.push(SqlValue::Text("tenant".to_owned()));
    let filter = Filter::from(filter.clone());
    filter.condition("public", &mut parameters).unwrap()
}

fn parsed(operator: &str, condition: &Value) -> Result<ElementCondition, FilterError> {
    parser::element(operator, "items", condition.clone())
}

fn element(condition: &Value) -> String {
    let condition = parsed("$elemMatch", condition).unwrap();
    element_condition(&condition, "item.value", &mut SqlParameters::new())
}

fn pulled(condition: &Value) -> String {
    let condition = parsed("$pull", condition).unwrap();
    pull_condition(&condition, "item.value", &mut SqlParameters::new())
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
    let age = Target::parse("age").unwrap().index_expression("public");
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
fn what_is_pulled_matches() {
    assert_eq!(
        pulled(&json!({"$in": ["x", 1]})),
        "pg_catalog.jsonb_build_object('element', item.value) @? $1::jsonpath"
    );
    assert_eq!(pulled(&json!({"sku": "x"})), element(&json!({"sku": "x"})));
}

#[test]
fn columns_compare_with_their_type_alone() {
    let cases = r#"
        {"_id": 7}  =>  `_id` compares with strings only, not with a number
        {"$nor": [{"a": 1, "_id": {"$not": {"$in": ["x", {}]}}}]}  =>  `_id` compares with strings only, not with an empty object
        {"_version": {"$gt": 1.5}}  =>  `_version` compares with 64-bit integers only, not with a number
        {"_id.a": 1}  =>  `_id.a` is not a field: the column has no fields inside
    "#;
    let condition = |filter| Filter::from(filter).condition("public", &mut SqlParameters::new());
    check_refused(condition, cases);
}

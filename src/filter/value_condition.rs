//! Conditions on one JSON value as it is: no look at its elements when it is an array.

use super::{
    boolean_logic::{all_of, negated},
    element_condition::element_matches,
    filter_error::FilterError,
    predicate::{ElementFilter, Predicate, RangeOperator},
    sql_parameters::SqlParameters,
};
use serde_json::Value;

/// The condition that the SQL expression `value`, which is never NULL, satisfies all predicates.
pub(super) fn value_condition(
    value: &str,
    predicates: &[Predicate<'_>],
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    let conditions = predicates
        .iter()
        .map(|predicate| one_condition(value, predicate, parameters));
    conditions.collect::<Result<_, _>>().map(all_of)
}

fn one_condition(
    value: &str,
    predicate: &Predicate<'_>,
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    Ok(match predicate {
        Predicate::AnyOf(values) => equal_to_any(value, values, parameters),
        Predicate::Range(operator, operand) => in_range(value, *operator, operand, parameters),
        Predicate::Exists => "TRUE".to_owned(),
        Predicate::Not(predicates) => negated(&value_condition(value, predicates, parameters)?),
        Predicate::ElemMatch(filter) => elem_match(value, filter, parameters)?,
    })
}

pub(super) fn equal_to_any(
    value: &str,
    values: &[&Value],
    parameters: &mut SqlParameters,
) -> String {
    match values {
        [] => "FALSE".to_owned(),
        _ => format!("{value} {}", parameters.equal_to_any_json(values)),
    }
}

/// A strict path, because a lax one would look at the elements. The filter takes the comparison of different types, which
/// is unknown, for false.
fn in_range(
    value: &str,
    operator: RangeOperator,
    operand: &Value,
    parameters: &mut SqlParameters,
) -> String {
    let path = format!("strict $ ? (@ {} {operand})", operator.sign());
    format!("{value} @? {}", parameters.push_json_path(path))
}

fn elem_match(
    value: &str,
    filter: &ElementFilter<'_>,
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    let condition = element_matches("element.value", filter, parameters)?;
    Ok(format!(
        "EXISTS (SELECT FROM jsonb_array_elements(CASE jsonb_typeof({value}) WHEN 'array' THEN {value} END) \
         AS element(value) WHERE {condition})"
    ))
}

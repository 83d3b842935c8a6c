//! Conditions on one JSON value as it is: no look at its elements when it is an array.

use super::boolean_logic::{all_of, negated};
use super::element_condition::element_matches;
use super::error::FilterError;
use super::json_type::JsonType;
use super::predicate::{ElementFilter, Predicate, RangeOperator};
use super::regex::Regex;
use super::sql_parameters::SqlParameters;
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
        Predicate::All(predicates) => value_condition(value, predicates, parameters)?,
        Predicate::OfType(types) => of_type(value, types),
        Predicate::Size(length) => format!(
            "(CASE pg_catalog.jsonb_typeof({value}) WHEN 'array' THEN pg_catalog.jsonb_array_length({value}) = {length} ELSE FALSE END)"
        ),
        Predicate::Matches(regex) => {
            let matches =
                matches_regex(&format!("({value} #>> '{{}}'::text[])"), regex, parameters);
            format!(
                "(CASE pg_catalog.jsonb_typeof({value}) WHEN 'string' THEN {matches} ELSE FALSE END)"
            )
        }
        Predicate::ElemMatch(filter) => elem_match(value, filter, parameters)?,
    })
}

fn equal_to_any(value: &str, values: &[&Value], parameters: &mut SqlParameters) -> String {
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

fn of_type(value: &str, types: &[JsonType]) -> String {
    let names: Vec<String> = types
        .iter()
        .map(|json_type| format!("'{}'", json_type.sql_name()))
        .collect();
    format!("pg_catalog.jsonb_typeof({value}) IN ({})", names.join(", "))
}

/// The condition that the regular expression matches in a text that is not NULL.
///
/// Its second half is TRUE. The planner computes it, so a wrong expression is refused even when there is no text.
pub(super) fn matches_regex(text: &str, regex: &Regex, parameters: &mut SqlParameters) -> String {
    let pattern = parameters.push_regex(regex);
    format!("({text} ~ {pattern} AND ('' ~ {pattern}) IS NOT NULL)")
}

fn elem_match(
    value: &str,
    filter: &ElementFilter<'_>,
    parameters: &mut SqlParameters,
) -> Result<String, FilterError> {
    let condition = element_matches("element.value", filter, parameters)?;
    Ok(format!(
        "EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(CASE pg_catalog.jsonb_typeof({value}) WHEN 'array' THEN {value} END) \
         AS element(value) WHERE {condition})"
    ))
}

//! Conditions on the two columns that a filter names like fields.

use std::slice;

use serde_json::Value;

use super::boolean_logic::{all_of, negated};
use super::condition::{Condition, Predicate};
use super::error::FilterError;
use super::json_type::JsonType;
use super::parser::type_name;
use super::sql_parameters::{SqlParameters, SqlValue};
use super::target::{collation, column_of};
use crate::pongo::dotted_path::Column;

/// Refuses values that cannot be compared with the columns.
pub(super) fn check_columns(condition: &Condition) -> Result<(), FilterError> {
    match condition {
        Condition::All(conditions) | Condition::Any(conditions) => {
            conditions.iter().try_for_each(check_columns)
        }
        Condition::Not(condition) => check_columns(condition),
        Condition::Field(path, predicates) => match column_of(path)? {
            Some(column) => check_predicates(column, predicates),
            None => Ok(()),
        },
    }
}

fn check_predicates(column: Column, predicates: &[Predicate]) -> Result<(), FilterError> {
    let check = |value| check_value(column, value);
    predicates.iter().try_for_each(|predicate| match predicate {
        Predicate::Range(_, value) => check(value),
        Predicate::Not(predicates) | Predicate::All(predicates) => {
            check_predicates(column, predicates)
        }
        _ => predicate
            .values()
            .unwrap_or_default()
            .iter()
            .try_for_each(check),
    })
}

fn check_value(column: Column, value: &Value) -> Result<(), FilterError> {
    let (fits, expected) = match column {
        Column::Id => (value.is_string(), "strings"),
        Column::Version => (value.is_i64(), "64-bit integers"),
    };
    if fits {
        return Ok(());
    }
    Err(FilterError::WrongColumnType {
        column: column.name(),
        expected,
        found: type_name(value),
    })
}

/// Returns the condition that the column satisfies all predicates, which are already checked.
pub(super) fn column_condition(
    column: Column,
    predicates: &[Predicate],
    parameters: &mut SqlParameters,
) -> String {
    let conditions = predicates
        .iter()
        .map(|predicate| one_condition(column, predicate, parameters));
    all_of(conditions.collect())
}

fn one_condition(column: Column, predicate: &Predicate, parameters: &mut SqlParameters) -> String {
    let name = column.name();
    match predicate {
        Predicate::Equal(value) => equal_to_any(column, slice::from_ref(value), parameters),
        Predicate::AnyOf(values) => equal_to_any(column, values, parameters),
        Predicate::Range(operator, operand) => {
            let operand = parameters.push(sql_value(column, operand));
            format!("{name} {} {operand}{}", operator.sign(), collation(column))
        }
        Predicate::Not(predicates) => negated(&column_condition(column, predicates, parameters)),
        Predicate::All(predicates) => column_condition(column, predicates, parameters),
        Predicate::Exists => "TRUE".to_owned(),
        Predicate::OfType(types) if types.contains(&json_type(column)) => "TRUE".to_owned(),
        Predicate::Matches(regex) if column == Column::Id => parameters.matches_regex(name, regex),
        Predicate::OfType(_)
        | Predicate::Size(_)
        | Predicate::Matches(_)
        | Predicate::ElemMatch(_) => "FALSE".to_owned(),
    }
}

fn equal_to_any(column: Column, values: &[Value], parameters: &mut SqlParameters) -> String {
    let name = column.name();
    match (values, column) {
        ([], _) => "FALSE".to_owned(),
        ([value], _) => format!("{name} = {}", parameters.push(sql_value(column, value))),
        (_, Column::Id) => {
            let values = SqlValue::TextArray(values.iter().map(text).collect());
            format!("{name} = ANY({})", parameters.push(values))
        }
        (_, Column::Version) => {
            let values = SqlValue::BigintArray(values.iter().map(bigint).collect());
            format!("{name} = ANY({})", parameters.push(values))
        }
    }
}

fn json_type(column: Column) -> JsonType {
    match column {
        Column::Id => JsonType::String,
        Column::Version => JsonType::Number,
    }
}

fn sql_value(column: Column, value: &Value) -> SqlValue {
    match column {
        Column::Id => SqlValue::Text(text(value)),
        Column::Version => SqlValue::Bigint(bigint(value)),
    }
}

/// `_id` compares with strings only: see [`check_columns`].
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `_version` compares with integers only: see [`check_columns`].
fn bigint(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

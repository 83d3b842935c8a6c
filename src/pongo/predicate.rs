//! The conditions that a filter puts on one field: checked and reduced to a few kinds.

use serde_json::{Map, Value};

use super::filter_error::FilterError;

/// One condition on the value of a field.
#[derive(Debug, PartialEq)]
pub(super) enum Predicate<'v> {
    /// Equal to one of these; nothing is, when there are none.
    AnyOf(Vec<&'v Value>),
    /// Of the operand's type, and before or after it. The operand is a string, a number or a boolean.
    Range(RangeOperator, &'v Value),
    /// Present, even as null.
    Exists,
    /// Not all of these.
    Not(Vec<Predicate<'v>>),
}

/// `$gt`, `$gte`, `$lt` and `$lte`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RangeOperator {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl RangeOperator {
    /// The operator's sign, the same in SQL and in its JSON path language.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }

    pub(super) fn is_lower_bound(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual)
    }

    fn includes_equal(self) -> bool {
        matches!(self, Self::GreaterOrEqual | Self::LessOrEqual)
    }
}

/// The conditions that stand behind `path` in a filter: an object of operators, or a value to be equal to.
pub(super) fn predicates<'v>(
    path: &str,
    condition: &'v Value,
) -> Result<Vec<Predicate<'v>>, FilterError> {
    match operators(path, condition)? {
        Some(operators) => parse_operators(path, operators),
        None => Ok(vec![equal(path, condition)?]),
    }
}

/// The operators of an object of operators; `None` for every other value, also for `{}`.
fn operators<'v>(
    path: &str,
    condition: &'v Value,
) -> Result<Option<&'v Map<String, Value>>, FilterError> {
    let Some(object) = condition.as_object() else {
        return Ok(None);
    };
    let operator = object.keys().find(|key| key.starts_with('$'));
    let plain = object.keys().find(|key| !key.starts_with('$'));
    match (operator, plain) {
        (Some(operator), Some(key)) => Err(FilterError::MixedKeys {
            path: path.to_owned(),
            operator: operator.clone(),
            key: key.clone(),
        }),
        (Some(_), None) => Ok(Some(object)),
        (None, _) => Ok(None),
    }
}

fn parse_operators<'v>(
    path: &str,
    operators: &'v Map<String, Value>,
) -> Result<Vec<Predicate<'v>>, FilterError> {
    operators
        .iter()
        .map(|(operator, operand)| parse_operator(path, operator, operand))
        .collect()
}

fn parse_operator<'v>(
    path: &str,
    operator: &str,
    operand: &'v Value,
) -> Result<Predicate<'v>, FilterError> {
    match operator {
        "$eq" => equal(path, operand),
        "$ne" => Ok(Predicate::Not(vec![equal(path, operand)?])),
        "$in" => any_of(path, operator, operand),
        "$nin" => Ok(Predicate::Not(vec![any_of(path, operator, operand)?])),
        "$gt" => range(path, operator, RangeOperator::Greater, operand),
        "$gte" => range(path, operator, RangeOperator::GreaterOrEqual, operand),
        "$lt" => range(path, operator, RangeOperator::Less, operand),
        "$lte" => range(path, operator, RangeOperator::LessOrEqual, operand),
        "$exists" => exists(path, operator, operand),
        "$not" => not(path, operator, operand),
        _ => Err(FilterError::UnknownOperator {
            operator: operator.to_owned(),
            place: format!("below the field `{path}`"),
        }),
    }
}

fn equal<'v>(path: &str, operand: &'v Value) -> Result<Predicate<'v>, FilterError> {
    refuse_unstorable(path, operand)?;
    Ok(Predicate::AnyOf(vec![operand]))
}

fn any_of<'v>(
    path: &str,
    operator: &str,
    operand: &'v Value,
) -> Result<Predicate<'v>, FilterError> {
    let Value::Array(values) = operand else {
        return Err(wrong_operand(path, operator, "an array of values", operand));
    };
    refuse_unstorable(path, operand)?;
    Ok(Predicate::AnyOf(values.iter().collect()))
}

/// MongoDB's null is equal to itself and to a missing field, and neither before nor after anything.
fn range<'v>(
    path: &str,
    operator: &str,
    range: RangeOperator,
    operand: &'v Value,
) -> Result<Predicate<'v>, FilterError> {
    refuse_unstorable(path, operand)?;
    match operand {
        Value::Null if range.includes_equal() => Ok(Predicate::AnyOf(vec![operand])),
        Value::Null => Ok(Predicate::AnyOf(vec![])),
        Value::Array(_) | Value::Object(_) => Err(wrong_operand(
            path,
            operator,
            "a string, a number, a boolean or null",
            operand,
        )),
        _ => Ok(Predicate::Range(range, operand)),
    }
}

fn exists<'v>(
    path: &str,
    operator: &str,
    operand: &'v Value,
) -> Result<Predicate<'v>, FilterError> {
    match operand {
        Value::Bool(true) => Ok(Predicate::Exists),
        Value::Bool(false) => Ok(Predicate::Not(vec![Predicate::Exists])),
        _ => Err(wrong_operand(path, operator, "true or false", operand)),
    }
}

fn not<'v>(path: &str, operator: &str, operand: &'v Value) -> Result<Predicate<'v>, FilterError> {
    match operators(path, operand)? {
        Some(operators) => parse_operators(path, operators).map(Predicate::Not),
        None => Err(wrong_operand(
            path,
            operator,
            "an object of operators",
            operand,
        )),
    }
}

fn refuse_unstorable(path: &str, value: &Value) -> Result<(), FilterError> {
    match value {
        Value::String(text) => refuse_nul(path, text),
        Value::Array(values) => values
            .iter()
            .try_for_each(|value| refuse_unstorable(path, value)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            if key.starts_with('$') {
                return Err(FilterError::OperatorInValue {
                    path: path.to_owned(),
                    key: key.clone(),
                });
            }
            refuse_nul(path, key)?;
            refuse_unstorable(path, value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn refuse_nul(path: &str, text: &str) -> Result<(), FilterError> {
    match text.contains('\0') {
        true => Err(FilterError::NulInValue {
            path: path.to_owned(),
        }),
        false => Ok(()),
    }
}

fn wrong_operand(path: &str, operator: &str, expected: &'static str, found: &Value) -> FilterError {
    FilterError::WrongOperand {
        operator: operator.to_owned(),
        path: path.to_owned(),
        expected,
        found: type_name(found),
    }
}

/// The JSON type of a value, as messages name it.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

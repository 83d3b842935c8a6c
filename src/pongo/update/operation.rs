//! The operations of an update document, checked.

use super::array_operand::{added_values, pushed_values};
use super::conflict::{Touched, refuse_conflicts};
use super::error::UpdateError;
use super::field::Field;
use super::path::UpdatePath;
use crate::json::type_name;
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Every operator.
const OPERATORS: [&str; 13] = [
    "$set",
    "$setOnInsert",
    "$unset",
    "$inc",
    "$mul",
    "$min",
    "$max",
    "$currentDate",
    "$rename",
    "$push",
    "$addToSet",
    "$pull",
    "$pop",
];

/// One operator at one path.
#[derive(Debug)]
pub(super) struct Operation<'u> {
    pub(super) operator: &'static str,
    pub(super) path: UpdatePath<'u>,
    pub(super) operand: Operand<'u>,
}

/// What an operator works with.
#[derive(Debug)]
pub(super) enum Operand<'u> {
    Nothing,
    /// A value in the form that the SQL function takes.
    Value(Value),
    /// The field's new path.
    Renamed(UpdatePath<'u>),
    /// What the elements that `$pull` takes out are like.
    Condition(&'u Value),
}

/// An operation as the SQL function takes it.
#[derive(Debug, Serialize)]
pub(super) struct SqlOperation<'o> {
    operator: &'static str,
    path: &'o str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'o, Value>>,
    /// The number of the condition, for a `$pull` that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<usize>,
}

impl SqlOperation<'_> {
    pub(super) fn with_condition(self, number: usize) -> Self {
        Self {
            condition: Some(number),
            ..self
        }
    }
}

impl Operation<'_> {
    pub(super) fn to_sql(&self) -> SqlOperation<'_> {
        SqlOperation {
            operator: self.operator,
            path: self.path.text,
            value: match &self.operand {
                Operand::Nothing | Operand::Condition(_) => None,
                Operand::Value(value) => Some(Cow::Borrowed(value)),
                Operand::Renamed(path) => Some(Cow::Owned(path.text.into())),
            },
            condition: None,
        }
    }
}

/// Whether an update changes every document that it is applied to, because it adds a whole number that is not 0.
pub(crate) fn counts(update: &Value) -> bool {
    let added = update.get("$inc").and_then(Value::as_object);
    added.is_some_and(|fields| {
        fields
            .values()
            .any(|added| added.as_i64().is_some_and(|added| added != 0))
    })
}

/// The operations of an update document, which touch each field once.
pub(super) fn operations(update: &Value) -> Result<Vec<Operation<'_>>, UpdateError> {
    let Value::Object(operators) = update else {
        return Err(UpdateError::NotAnObject {
            found: type_name(update),
        });
    };
    if operators.is_empty() {
        return Err(UpdateError::Empty);
    }
    let mut operations = Vec::new();
    for (key, fields) in operators {
        let operator = operator(key)?;
        for (path, operand) in fields_of(operator, fields)? {
            operations.push(operation(operator, path, operand)?);
        }
    }
    refuse_conflicts(touched(&operations))?;
    Ok(operations)
}

fn operator(key: &str) -> Result<&'static str, UpdateError> {
    if !key.starts_with('$') {
        return Err(UpdateError::PlainKey {
            key: key.to_owned(),
        });
    }
    OPERATORS
        .into_iter()
        .find(|operator| *operator == key)
        .ok_or_else(|| UpdateError::UnknownOperator {
            operator: key.to_owned(),
        })
}

fn fields_of<'u>(
    operator: &'static str,
    fields: &'u Value,
) -> Result<&'u Map<String, Value>, UpdateError> {
    fields.as_object().ok_or_else(|| UpdateError::NoFields {
        operator,
        found: type_name(fields),
    })
}

fn operation<'u>(
    operator: &'static str,
    path: &'u str,
    operand: &'u Value,
) -> Result<Operation<'u>, UpdateError> {
    let path = UpdatePath::parse(operator, path)?;
    let field = Field {
        operator,
        path: &path,
    };
    let checked = match operator {
        "$unset" => Operand::Nothing,
        "$inc" | "$mul" => Operand::Value(field.number(operand)?),
        "$currentDate" => {
            field.check_date(operand)?;
            Operand::Nothing
        }
        "$rename" => Operand::Renamed(field.renamed(operand)?),
        "$push" => Operand::Value(pushed_values(&field, operand)?),
        "$addToSet" => Operand::Value(added_values(&field, operand)?),
        "$pull" if operand.is_object() => Operand::Condition(operand),
        "$pop" => Operand::Value(field.end(operand)?),
        _ => Operand::Value(operand.clone()),
    };
    if let Operand::Value(value) = &checked {
        let stored = match operator {
            "$push" => &value["each"],
            _ => value,
        };
        field.refuse_unstorable(operand, stored)?;
    }
    Ok(Operation {
        operator,
        path,
        operand: checked,
    })
}

fn touched<'u>(operations: &[Operation<'u>]) -> Vec<Touched<'u>> {
    let mut touched = Vec::with_capacity(operations.len());
    for operation in operations {
        let operator = operation.operator;
        touched.push(Touched {
            operator,
            path: operation.path.clone(),
        });
        if let Operand::Renamed(path) = &operation.operand {
            touched.push(Touched {
                operator,
                path: path.clone(),
            });
        }
    }
    touched
}

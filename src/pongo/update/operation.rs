//! The operations of an update document, checked.

use super::array_operand::{added_values, pushed_values};
use super::conflict::{Touched, refuse_conflicts};
use super::error::UpdateError;
use super::field::{Field, changed_path};
use crate::json::type_name;
use crate::pongo::dotted_path::DottedPath;
use crate::pongo::filter::{ElementCondition, ElementFilter};
use serde::Serialize;
use serde_json::Value;
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
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operation {
    pub(super) operator: &'static str,
    pub(super) path: DottedPath,
    pub(super) operand: Operand,
}

/// What an operator works with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Nothing,
    /// A value in the form that the SQL function takes.
    Value(Value),
    /// The field's new path.
    Renamed(DottedPath),
    /// What the elements that `$pull` takes out are like.
    Condition(ElementCondition),
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

impl Operation {
    /// An operator at a path, with the operand that an update document has there.
    pub(super) fn new(
        operator: &'static str,
        path: impl Into<String>,
        operand: Value,
    ) -> Result<Self, UpdateError> {
        Self::made(operator, path, |field| operand_of(field, operand))
    }

    /// `$pull` of what matches.
    pub(super) fn pull(
        path: impl Into<String>,
        condition: ElementFilter,
    ) -> Result<Self, UpdateError> {
        Self::made("$pull", path, |field| condition_of(field, condition))
    }

    fn made(
        operator: &'static str,
        path: impl Into<String>,
        operand: impl FnOnce(&Field<'_>) -> Result<Operand, UpdateError>,
    ) -> Result<Self, UpdateError> {
        let path = changed_path(operator, path)?;
        let operand = operand(&Field {
            operator,
            path: &path,
        })?;
        Ok(Self {
            operator,
            path,
            operand,
        })
    }

    pub(super) fn to_sql(&self) -> SqlOperation<'_> {
        SqlOperation {
            operator: self.operator,
            path: self.path.as_str(),
            value: match &self.operand {
                Operand::Nothing | Operand::Condition(_) => None,
                Operand::Value(value) => Some(Cow::Borrowed(value)),
                Operand::Renamed(path) => Some(Cow::Owned(path.as_str().into())),
            },
            condition: None,
        }
    }

    /// Whether it changes every document, because it adds a whole number that is not 0.
    pub(super) fn counts(&self) -> bool {
        let added = match &self.operand {
            Operand::Value(value) if self.operator == "$inc" => value.as_i64(),
            _ => None,
        };
        added.is_some_and(|added| added != 0)
    }
}

/// The operations of an update document.
pub(super) fn operations(update: Value) -> Result<Vec<Operation>, UpdateError> {
    let Value::Object(operators) = update else {
        return Err(UpdateError::NotAnObject {
            found: type_name(&update),
        });
    };
    if operators.is_empty() {
        return Err(UpdateError::Empty);
    }
    let mut operations = Vec::new();
    for (key, fields) in operators {
        let operator = operator(&key)?;
        let Value::Object(fields) = fields else {
            return Err(UpdateError::NoFields {
                operator,
                found: type_name(&fields),
            });
        };
        for (path, operand) in fields {
            operations.push(Operation::new(operator, path, operand)?);
        }
    }
    Ok(operations)
}

/// Refuses operations that touch a field twice.
pub(super) fn check(operations: &[Operation]) -> Result<(), UpdateError> {
    let mut touched = Vec::with_capacity(operations.len());
    for operation in operations {
        let operator = operation.operator;
        let mut touch = |path| touched.push(Touched { operator, path });
        touch(&operation.path);
        if let Operand::Renamed(path) = &operation.operand {
            touch(path);
        }
    }
    refuse_conflicts(touched)
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

fn operand_of(field: &Field<'_>, operand: Value) -> Result<Operand, UpdateError> {
    match field.operator {
        "$unset" => return Ok(Operand::Nothing),
        "$currentDate" => return field.check_date(&operand).map(|()| Operand::Nothing),
        "$rename" => return field.renamed(operand).map(Operand::Renamed),
        "$pull" if operand.is_object() => {
            return condition_of(field, operand.into());
        }
        _ => field.check_storable(&operand)?,
    }
    let value = match field.operator {
        "$inc" | "$mul" => field.number(operand)?,
        "$push" => pushed_values(field, &operand)?,
        "$addToSet" => added_values(field, &operand)?,
        "$pop" => field.end(&operand)?,
        _ => operand,
    };
    let stored = match field.operator {
        "$push" => &value["each"],
        _ => &value,
    };
    field.check_depth(stored)?;
    Ok(Operand::Value(value))
}

fn condition_of(field: &Field<'_>, condition: ElementFilter) -> Result<Operand, UpdateError> {
    let path = field.path.as_str();
    let condition = condition.into_condition(field.operator, path);
    condition
        .map(Operand::Condition)
        .map_err(|source| UpdateError::Condition {
            path: path.to_owned(),
            source,
        })
}

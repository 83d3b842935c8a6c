//! The checked operations of an update document.

use super::array_operand::{added_values, pushed_values};
use super::error::UpdateError;
use super::field::Field;
use crate::json::type_name;
use crate::pongo::filter::{ElementCondition, ElementFilter};
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;

/// All operators.
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
    pub(super) field: Field,
    pub(super) operand: Operand,
}

/// The operand of an operator.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Nothing,
    /// A value in the form of the SQL function's argument.
    Value(Value),
    /// The field at its new path.
    Renamed(Field),
    /// The condition on the elements that `$pull` removes.
    Condition(ElementCondition),
}

/// An operation in the form of the SQL function's argument.
#[derive(Debug, Serialize)]
pub(super) struct SqlOperation<'o> {
    operator: &'static str,
    path: &'o str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'o, Value>>,
    /// The number of the condition, for a `$pull` with a condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<usize>,
}

impl Operation {
    /// Creates an operator at a path, with its operand in the update document.
    pub(super) fn new(
        operator: &'static str,
        path: impl Into<String>,
        operand: Value,
    ) -> Result<Self, UpdateError> {
        let field = Field::parse(operator, path)?;
        let operand = operand_of(&field, operand)?;
        Ok(Self { field, operand })
    }

    /// Creates a `$pull` with a condition.
    pub(super) fn pull(path: &str, condition: ElementFilter) -> Result<Self, UpdateError> {
        let field = Field::parse("$pull", path)?;
        let operand = condition_of(&field, condition)?;
        Ok(Self { field, operand })
    }

    pub(super) fn touched(&self) -> impl Iterator<Item = &Field> {
        let renamed = match &self.operand {
            Operand::Renamed(field) => Some(field),
            _ => None,
        };
        std::iter::once(&self.field).chain(renamed)
    }

    pub(super) fn is_for_inserts(&self) -> bool {
        self.field.operator == "$setOnInsert"
    }

    pub(super) fn to_sql(&self, condition: Option<usize>) -> SqlOperation<'_> {
        SqlOperation {
            operator: self.field.operator,
            path: self.field.path.as_str(),
            value: match &self.operand {
                Operand::Nothing | Operand::Condition(_) => None,
                Operand::Value(value) => Some(Cow::Borrowed(value)),
                Operand::Renamed(field) => Some(Cow::Owned(field.path().into())),
            },
            condition,
        }
    }

    /// Returns whether the operation changes every document, because it adds a whole number other than 0.
    pub(super) fn counts(&self) -> bool {
        let added = match &self.operand {
            Operand::Value(value) if self.field.operator == "$inc" => value.as_i64(),
            _ => None,
        };
        added.is_some_and(|added| added != 0)
    }
}

/// Returns the operations of an update document.
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

fn operand_of(field: &Field, operand: Value) -> Result<Operand, UpdateError> {
    match field.operator {
        "$unset" => return Ok(Operand::Nothing),
        "$currentDate" => return field.check_date(&operand).map(|()| Operand::Nothing),
        "$rename" => return field.renamed(operand).map(Operand::Renamed),
        "$pull" if operand.is_object() => return condition_of(field, operand.into()),
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

fn condition_of(field: &Field, condition: ElementFilter) -> Result<Operand, UpdateError> {
    let condition = condition.into_condition(field.operator, field.path.as_str());
    condition
        .map(Operand::Condition)
        .map_err(|source| UpdateError::Condition {
            path: field.path(),
            source,
        })
}

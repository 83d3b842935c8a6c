//! A field that an operator changes, and the checks of its operands.

use super::error::UpdateError;
use crate::json::{DEPTH_LIMIT, JsonError, to_json, type_name};
use crate::pongo::dotted_path::{DottedPath, InvalidPath};
use crate::pongo::operand::direction;
use serde_json::{Value, json};
use std::sync::Arc;

/// A field that an operator changes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) operator: &'static str,
    pub(super) path: DottedPath,
}

impl Field {
    pub(super) fn parse(
        operator: &'static str,
        path: impl Into<String>,
    ) -> Result<Self, UpdateError> {
        let path = DottedPath::parse(path).map_err(|InvalidPath { path, reason }| {
            UpdateError::InvalidPath {
                operator,
                path,
                reason,
            }
        })?;
        match path.column() {
            Some(column) => Err(UpdateError::Immutable {
                operator,
                path: path.as_str().to_owned(),
                field: column.name(),
            }),
            None => Ok(Self { operator, path }),
        }
    }

    /// Returns the path for errors.
    pub(super) fn path(&self) -> String {
        self.path.as_str().to_owned()
    }

    pub(super) fn number(&self, operand: Value) -> Result<Value, UpdateError> {
        if operand.is_number() {
            return Ok(operand);
        }
        Err(self.wrong_operand("a number", type_name(&operand)))
    }

    pub(super) fn check_date(&self, operand: &Value) -> Result<(), UpdateError> {
        if *operand == json!(true) || *operand == json!({"$type": "date"}) {
            return Ok(());
        }
        Err(self.wrong_operand("true or {\"$type\": \"date\"}", operand))
    }

    pub(super) fn renamed(&self, operand: Value) -> Result<Self, UpdateError> {
        let Value::String(renamed) = operand else {
            return Err(self.wrong_operand("the field's new name", type_name(&operand)));
        };
        let renamed = Self::parse(self.operator, renamed)?;
        renamed.check_depth(&Value::Null)?;
        Ok(renamed)
    }

    pub(super) fn end(&self, operand: &Value) -> Result<Value, UpdateError> {
        let end = direction(operand).map(Value::from);
        end.ok_or_else(|| self.wrong_operand("1 for the last element or -1 for the first", operand))
    }

    pub(super) fn wrong_operand(
        &self,
        expected: &'static str,
        found: impl ToString,
    ) -> UpdateError {
        UpdateError::WrongOperand {
            operator: self.operator,
            path: self.path(),
            expected,
            found: found.to_string(),
        }
    }

    /// Refuses values that `jsonb` cannot store.
    pub(super) fn check_storable(&self, operand: &Value) -> Result<(), UpdateError> {
        let json = to_json(operand);
        json.map(|_| ()).map_err(|source| self.unstorable(source))
    }

    /// Refuses values that would be nested too deeply at the path.
    pub(super) fn check_depth(&self, stored: &Value) -> Result<(), UpdateError> {
        if self.path.names().count() + depth(stored) > DEPTH_LIMIT {
            return Err(self.unstorable(JsonError::TooDeep { limit: DEPTH_LIMIT }));
        }
        Ok(())
    }

    fn unstorable(&self, source: JsonError) -> UpdateError {
        UpdateError::Value {
            operator: self.operator,
            path: self.path(),
            source: Arc::new(source),
        }
    }
}

/// Returns the nesting depth of arrays and objects.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

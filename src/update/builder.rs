//! Update documents, built field by field.

use super::update_error::UpdateError;
use serde_json::Value;

/// An update.
#[derive(Debug, Clone, Default)]
pub struct Update {
    document: Value,
}

impl From<Value> for Update {
    fn from(document: Value) -> Self {
        Self { document }
    }
}

impl Update {
    pub(crate) fn document(&self) -> Result<&Value, UpdateError> {
        Ok(&self.document)
    }
}

//! The values of one SQL statement, numbered in the order in which its text mentions them.

use postgres::types::{ToSql, Type};
use serde_json::Value;

/// A value that a statement is given, never written into its text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SqlValue {
    Text(String),
    TextArray(Vec<String>),
    Json(Value),
    JsonArray(Vec<Value>),
    Bigint(i64),
    BigintArray(Vec<i64>),
}

impl SqlValue {
    fn cast(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::TextArray(_) => "text[]",
            Self::Json(_) => "jsonb",
            Self::JsonArray(_) => "jsonb[]",
            Self::Bigint(_) => "bigint",
            Self::BigintArray(_) => "bigint[]",
        }
    }

    fn postgres_type(&self) -> Type {
        match self {
            Self::Text(_) => Type::TEXT,
            Self::TextArray(_) => Type::TEXT_ARRAY,
            Self::Json(_) => Type::JSONB,
            Self::JsonArray(_) => Type::JSONB_ARRAY,
            Self::Bigint(_) => Type::INT8,
            Self::BigintArray(_) => Type::INT8_ARRAY,
        }
    }

    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Text(value) => value,
            Self::TextArray(values) => values,
            Self::Json(value) => value,
            Self::JsonArray(values) => values,
            Self::Bigint(value) => value,
            Self::BigintArray(values) => values,
        }
    }
}

/// The parameters that a statement has collected so far.
#[derive(Debug, Default)]
pub(crate) struct SqlParameters {
    values: Vec<SqlValue>,
}

impl SqlParameters {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a value and returns how the statement mentions it, with its type: `$3::jsonb`.
    pub(crate) fn push(&mut self, value: SqlValue) -> String {
        let cast = value.cast();
        self.values.push(value);
        format!("${}::{cast}", self.values.len())
    }

    #[allow(missing_docs)]
    pub(crate) fn values(&self) -> &[SqlValue] {
        &self.values
    }
    /// The values for `query` and `execute`.
    pub(crate) fn as_refs(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(SqlValue::as_sql).collect()
    }

    /// The values with their types for `query_typed`.
    pub(crate) fn typed(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.values
            .iter()
            .map(|value| (value.as_sql(), value.postgres_type()))
            .collect()
    }
}

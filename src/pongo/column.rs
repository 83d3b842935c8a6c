//! The two columns that a filter or a sort names like fields.

use serde_json::Value;

use super::{filter_error::FilterError, predicate::type_name, sql_parameters::SqlValue};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Id,
    Version,
}

impl Column {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "_id" => Some(Self::Id),
            "_version" => Some(Self::Version),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Id => "_id",
            Self::Version => "_version",
        }
    }

    /// The collation of ranges and sorts. Equality goes without, so that the primary key serves it whatever
    /// collation the column was created with; ranges are served when it was created with "C".
    pub(super) fn collation(self) -> &'static str {
        match self {
            Self::Id => r#" COLLATE "C""#,
            Self::Version => "",
        }
    }

    pub(super) fn value(self, value: &Value) -> Result<SqlValue, FilterError> {
        match self {
            Self::Id => self.text(value).map(SqlValue::Text),
            Self::Version => self.bigint(value).map(SqlValue::Bigint),
        }
    }

    pub(super) fn values(self, values: &[&Value]) -> Result<SqlValue, FilterError> {
        let values = values.iter();
        match self {
            Self::Id => values
                .map(|value| self.text(value))
                .collect::<Result<_, _>>()
                .map(SqlValue::TextArray),
            Self::Version => values
                .map(|value| self.bigint(value))
                .collect::<Result<_, _>>()
                .map(SqlValue::BigintArray),
        }
    }

    fn text(self, value: &Value) -> Result<String, FilterError> {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| self.wrong_type("strings", value))
    }

    fn bigint(self, value: &Value) -> Result<i64, FilterError> {
        value
            .as_i64()
            .ok_or_else(|| self.wrong_type("64-bit integers", value))
    }

    fn wrong_type(self, expected: &'static str, found: &Value) -> FilterError {
        FilterError::WrongColumnType {
            column: self.name(),
            expected,
            found: type_name(found),
        }
    }
}

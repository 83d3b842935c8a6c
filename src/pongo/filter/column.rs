//! The two columns that a filter or a sort names like fields.

use serde_json::Value;

use super::boolean_logic::{all_of, negated};
use super::error::FilterError;
use super::field_path::{SortKey, SortKeyKind};
use super::json_type::JsonType;
use super::predicate::{Predicate, type_name};
use super::sql_parameters::{SqlParameters, SqlValue};
use super::value_condition::matches_regex;

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

    fn name(self) -> &'static str {
        match self {
            Self::Id => "_id",
            Self::Version => "_version",
        }
    }

    /// The collation of ranges and sorts. Equality goes without, so that the primary key serves it whatever
    /// collation the column was created with; it serves ranges when that is "C".
    fn collation(self) -> &'static str {
        match self {
            Self::Id => r#" COLLATE "C""#,
            Self::Version => "",
        }
    }

    /// What an index on the column lists, and what a sort by it compares.
    pub(super) fn sort_key(self) -> SortKey {
        SortKey {
            sql: format!("{}{}", self.name(), self.collation()),
            kind: match self {
                Self::Id => SortKeyKind::Text,
                Self::Version => SortKeyKind::Bigint,
            },
        }
    }

    pub(super) fn condition(
        self,
        predicates: &[Predicate<'_>],
        parameters: &mut SqlParameters,
    ) -> Result<String, FilterError> {
        let conditions = predicates
            .iter()
            .map(|predicate| self.one_condition(predicate, parameters));
        conditions.collect::<Result<_, _>>().map(all_of)
    }

    fn one_condition(
        self,
        predicate: &Predicate<'_>,
        parameters: &mut SqlParameters,
    ) -> Result<String, FilterError> {
        let name = self.name();
        Ok(match predicate {
            Predicate::AnyOf(values) => match values[..] {
                [] => "FALSE".to_owned(),
                [value] => format!("{name} = {}", parameters.push(self.value(value)?)),
                _ => format!("{name} = ANY({})", parameters.push(self.values(values)?)),
            },
            Predicate::Range(operator, operand) => {
                let operand = parameters.push(self.value(operand)?);
                format!("{name} {} {operand}{}", operator.sign(), self.collation())
            }
            Predicate::Exists => "TRUE".to_owned(),
            Predicate::Not(predicates) => negated(&self.condition(predicates, parameters)?),
            Predicate::All(predicates) => self.condition(predicates, parameters)?,
            Predicate::OfType(types) if types.contains(&self.json_type()) => "TRUE".to_owned(),
            Predicate::Matches(regex) if self == Self::Id => matches_regex(name, regex, parameters),
            Predicate::OfType(_)
            | Predicate::Size(_)
            | Predicate::Matches(_)
            | Predicate::ElemMatch(_) => "FALSE".to_owned(),
        })
    }

    fn json_type(self) -> JsonType {
        match self {
            Self::Id => JsonType::String,
            Self::Version => JsonType::Number,
        }
    }

    fn value(self, value: &Value) -> Result<SqlValue, FilterError> {
        match self {
            Self::Id => self.text(value).map(SqlValue::Text),
            Self::Version => self.bigint(value).map(SqlValue::Bigint),
        }
    }

    fn values(self, values: &[&Value]) -> Result<SqlValue, FilterError> {
        let values = values.iter();
        Ok(match self {
            Self::Id => SqlValue::TextArray(
                values
                    .map(|value| self.text(value))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Version => SqlValue::BigintArray(
                values
                    .map(|value| self.bigint(value))
                    .collect::<Result<_, _>>()?,
            ),
        })
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

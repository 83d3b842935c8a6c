//! The numbered parameters of one SQL statement.

use std::error::Error;
use std::fmt;

use postgres::types::private::BytesMut;
use postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};
use serde_json::Value;

use super::error::FilterError;
use super::regex::Regex;

/// The value of a parameter. It is never written into the statement's text.
#[derive(Debug, Clone)]
pub(crate) enum SqlValue {
    Text(String),
    TextArray(Vec<String>),
    Json(Value),
    JsonArray(Vec<Value>),
    JsonText(BinaryText),
    Bigint(i64),
    BigintArray(Vec<i64>),
    /// An expression of SQL's JSON path language, sent in its binary format. A generic plan would parse a text parameter for
    /// each row.
    JsonPath(BinaryText),
}

/// Text that is sent unchanged, in the binary format of `jsonb` and `jsonpath`.
#[derive(Clone)]
pub(crate) struct BinaryText(Vec<u8>);

impl fmt::Debug for BinaryText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl ToSql for BinaryText {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        /// The version byte of both formats.
        const FORMAT: u8 = 1;
        out.extend_from_slice(&[FORMAT]);
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    accepts!(JSONB, JSONPATH);
    to_sql_checked!();
}

impl SqlValue {
    /// Returns the value, its type, and the type's name in SQL.
    fn typed(&self) -> (&(dyn ToSql + Sync), Type, &'static str) {
        match self {
            Self::Text(value) => (value, Type::TEXT, "text"),
            Self::TextArray(values) => (values, Type::TEXT_ARRAY, "text[]"),
            Self::Json(value) => (value, Type::JSONB, "jsonb"),
            Self::JsonText(json) => (json, Type::JSONB, "jsonb"),
            Self::JsonArray(values) => (values, Type::JSONB_ARRAY, "jsonb[]"),
            Self::Bigint(value) => (value, Type::INT8, "bigint"),
            Self::BigintArray(values) => (values, Type::INT8_ARRAY, "bigint[]"),
            Self::JsonPath(json_path) => (json_path, Type::JSONPATH, "jsonpath"),
        }
    }
}

/// The parameters of a statement so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct SqlParameters {
    values: Vec<SqlValue>,
    regexes: Vec<Regex>,
}

impl SqlParameters {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a value. Returns its typed SQL placeholder: `$3::jsonb`.
    pub(crate) fn push(&mut self, value: SqlValue) -> String {
        let (_, _, cast) = value.typed();
        self.values.push(value);
        ["$", &self.values.len().to_string(), "::", cast].concat()
    }

    /// Adds an expression of SQL's JSON path language.
    pub(crate) fn push_json_path(&mut self, json_path: String) -> String {
        self.push(SqlValue::JsonPath(BinaryText(json_path.into())))
    }

    /// Adds JSON as text.
    pub(crate) fn push_json_text(&mut self, json: impl Into<Vec<u8>>) -> String {
        self.push(SqlValue::JsonText(BinaryText(json.into())))
    }

    /// Returns the condition that a regular expression matches a text that is not NULL.
    ///
    /// Its second half is TRUE. The planner evaluates it, so an invalid expression is refused even if there is no text.
    pub(super) fn matches_regex(&mut self, text: &str, regex: &Regex) -> String {
        self.regexes.push(regex.clone());
        let pattern = self.push(SqlValue::Text(regex.to_sql()));
        format!("({text} ~ {pattern} AND ('' ~ {pattern}) IS NOT NULL)")
    }

    /// Returns the error of a regular expression that PostgreSQL refuses (SQLSTATE 2201B), or `None` if the filter has none.
    /// PostgreSQL does not identify the expression, so the error names all of them.
    pub(crate) fn invalid_regex(&self, message: &str) -> Option<FilterError> {
        let mut regexes: Vec<String> = self.regexes.iter().map(Regex::to_string).collect();
        regexes.dedup();
        if regexes.is_empty() {
            return None;
        }
        let reason = message.trim_start_matches("invalid regular expression: ");
        Some(FilterError::InvalidRegex {
            regexes: regexes.join(" or "),
            reason: reason.to_owned(),
        })
    }

    /// Adds JSON values. Returns the right side of a comparison with them: `= $3::jsonb` or `= ANY($3::jsonb[])`.
    pub(crate) fn equal_to_any_json(&mut self, values: &[&Value]) -> String {
        if let [value] = values {
            return format!("= {}", self.push(SqlValue::Json((*value).clone())));
        }
        let values = values.iter().copied().cloned().collect();
        format!("= ANY({})", self.push(SqlValue::JsonArray(values)))
    }

    /// Returns the values with their types for `query_typed`.
    pub(crate) fn typed(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        let values = self.values.iter().map(SqlValue::typed);
        values.map(|(value, kind, _)| (value, kind)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refused_regular_expression_is_named() {
        let mut parameters = SqlParameters::new();
        let message = "invalid regular expression: parentheses () not balanced";
        assert_eq!(parameters.invalid_regex(message), None);

        for (path, pattern) in [("name", "a("), ("name", "a("), ("tags", "x")] {
            parameters.matches_regex("name", &Regex::new(path, pattern, "i").unwrap());
        }

        assert_eq!(
            parameters.invalid_regex(message).unwrap().to_string(),
            "the regular expression `a(` of `name` or `x` of `tags` is not valid: parentheses () not balanced"
        );
    }

    #[test]
    fn parameters_are_numbered_and_typed() {
        let mut parameters = SqlParameters::new();

        assert_eq!(
            parameters.push(SqlValue::Text("tenant".to_owned())),
            "$1::text"
        );
        assert_eq!(parameters.push_json_path("$".to_owned()), "$2::jsonpath");
        assert_eq!(parameters.equal_to_any_json(&[&json!(1)]), "= $3::jsonb");
        assert_eq!(
            parameters.equal_to_any_json(&[&json!(1), &json!("x")]),
            "= ANY($4::jsonb[])"
        );
        assert_eq!(parameters.push(SqlValue::Bigint(10)), "$5::bigint");

        let types: Vec<Type> = parameters
            .typed()
            .into_iter()
            .map(|(_, kind)| kind)
            .collect();
        assert_eq!(
            types,
            [
                Type::TEXT,
                Type::JSONPATH,
                Type::JSONB,
                Type::JSONB_ARRAY,
                Type::INT8
            ]
        );
    }
}

use crate::pongo::dotted_path::InvalidPath;

/// The reason for which a filter or a sort document was refused. Nothing was sent to the database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The filter, or one branch of `$and`, `$or` or `$nor`, is not an object.
    #[error("{place} must be an object, not {found}")]
    #[non_exhaustive]
    NotAnObject {
        /// The part of the filter, in words.
        place: String,
        /// The JSON type of that part.
        found: &'static str,
    },

    /// `$and`, `$or` or `$nor` has no array with at least one filter.
    #[error("`{operator}` needs an array of filters with at least one entry")]
    #[non_exhaustive]
    NoBranches {
        /// The operator without branches.
        operator: String,
    },

    /// The operator does not exist, is not supported, or is not valid in this place.
    #[error("the operator `{operator}` is not supported {place}")]
    #[non_exhaustive]
    UnknownOperator {
        /// The operator as it was written.
        operator: String,
        /// The place, in words.
        place: String,
    },

    /// One object contains operators and plain keys, so it is neither a condition nor a value.
    #[error("`{path}` mixes the operator `{operator}` with the plain key `{key}`")]
    #[non_exhaustive]
    MixedKeys {
        /// The field.
        path: String,
        /// One of the operators.
        operator: String,
        /// One of the plain keys.
        key: String,
    },

    /// The operand has a type that the operator does not accept.
    #[error("`{operator}` of `{path}` needs {expected}, not {found}")]
    #[non_exhaustive]
    WrongOperand {
        /// The operator.
        operator: String,
        /// The field.
        path: String,
        /// The operands that the operator accepts.
        expected: &'static str,
        /// The JSON type of the operand, or its value.
        found: String,
    },

    /// PostgreSQL does not accept the regular expression of a `$regex`. Its syntax is close to Perl's.
    #[error("the regular expression {regexes} is not valid: {reason}")]
    #[non_exhaustive]
    InvalidRegex {
        /// The expression and its field. PostgreSQL does not identify the expression, so all expressions of the filter are
        /// listed.
        regexes: String,
        /// PostgreSQL's message.
        reason: String,
    },

    /// A value to compare with cannot be serialized as JSON, or a document cannot contain it.
    #[error("`{path}` is compared with a value that JSON does not have: {reason}")]
    #[non_exhaustive]
    InvalidValue {
        /// The field.
        path: String,
        /// The reason.
        reason: String,
    },

    /// `_id` and `_version` are columns of one type each and compare with that type only.
    #[error("`{column}` compares with {expected} only, not with {found}")]
    #[non_exhaustive]
    WrongColumnType {
        /// The column.
        column: &'static str,
        /// The type of the column.
        expected: &'static str,
        /// The JSON type of the value.
        found: &'static str,
    },

    /// A value to compare with contains a key that begins with `$`. Operators must be directly below a dotted path: `{"a.b":
    /// {"$gt": 1}}`, not `{"a": {"b": {"$gt": 1}}}`.
    #[error(
        "`{path}` is compared with a value that has the key `{key}`; an operator stands directly below a dotted path"
    )]
    #[non_exhaustive]
    OperatorInValue {
        /// The field.
        path: String,
        /// The key inside the value.
        key: String,
    },

    /// A text contains the character U+0000, which PostgreSQL stores neither in text nor in JSONB.
    #[error("`{path}` is compared with text that contains U+0000")]
    #[non_exhaustive]
    NulInValue {
        /// The field.
        path: String,
    },

    /// The name of a field is not a valid path.
    #[error("`{path}` is not a field: {reason}")]
    #[non_exhaustive]
    InvalidPath {
        /// The path as it was written.
        path: String,
        /// The reason.
        reason: &'static str,
    },

    /// The filter of an upsert gives two values to one field, or values to a field and a part of it. An upsert creates a
    /// document from the fields that its filter compares by equality.
    #[error("the upsert would give `{path}` two values")]
    #[non_exhaustive]
    TwoValues {
        /// The path of the second value.
        path: String,
    },

    /// The sort document is not an object of `1` and `-1`.
    #[error("cannot sort by `{path}`: {reason}")]
    #[non_exhaustive]
    InvalidSort {
        /// The field, or the invalid part of the document.
        path: String,
        /// The reason.
        reason: &'static str,
    },

    /// A selection of fields is invalid.
    #[error("cannot select `{path}`: {reason}")]
    #[non_exhaustive]
    InvalidSelection {
        /// The field, or the selection.
        path: String,
        /// The reason.
        reason: &'static str,
    },
}

impl From<InvalidPath> for FilterError {
    fn from(InvalidPath { path, reason }: InvalidPath) -> Self {
        Self::InvalidPath { path, reason }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::FilterError;
    use serde_json::Value;

    /// Each line contains a refused input and its message.
    pub(in super::super) fn check_refused<T>(
        parse: impl Fn(Value) -> Result<T, FilterError>,
        cases: &str,
    ) {
        for case in cases.lines().map(str::trim).filter(|case| !case.is_empty()) {
            let (refused, expected) = case.split_once("  =>  ").unwrap();
            let found = parse(serde_json::from_str(refused).unwrap()).err();
            assert_eq!(found.unwrap().to_string(), expected);
        }
    }
}

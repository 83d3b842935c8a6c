use crate::pongo::dotted_path::InvalidPath;

/// Why a filter or a sort document was refused. Nothing has been sent to the database then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The filter, or one branch of `$and`, `$or` or `$nor`, is not an object.
    #[error("{place} must be an object, not {found}")]
    #[non_exhaustive]
    NotAnObject {
        /// What was read, in words.
        place: String,
        /// The JSON type that stands there.
        found: &'static str,
    },

    /// `$and`, `$or` and `$nor` take an array with at least one filter.
    #[error("`{operator}` needs an array of filters with at least one entry")]
    #[non_exhaustive]
    NoBranches {
        /// The operator without branches.
        operator: String,
    },

    /// The operator does not exist, is not supported, or does not belong in this place.
    #[error("the operator `{operator}` is not supported {place}")]
    #[non_exhaustive]
    UnknownOperator {
        /// The operator as it was written.
        operator: String,
        /// Where it stands, in words.
        place: String,
    },

    /// One object holds operators and plain keys, so it is neither a condition nor a value.
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

    /// The operator's operand has a type that it cannot work with.
    #[error("`{operator}` of `{path}` needs {expected}, not {found}")]
    #[non_exhaustive]
    WrongOperand {
        /// The operator.
        operator: String,
        /// The field.
        path: String,
        /// What the operator works with.
        expected: &'static str,
        /// The JSON type that was given, or the value.
        found: String,
    },

    /// PostgreSQL does not accept the regular expression of a `$regex`. It has a syntax of its own, close to Perl's.
    #[error("the regular expression {regexes} is not valid: {reason}")]
    #[non_exhaustive]
    InvalidRegex {
        /// The expression and its field. Of several in one filter PostgreSQL does not say which it means: then all.
        regexes: String,
        /// What PostgreSQL says about it.
        reason: String,
    },

    /// A value to compare with cannot be written as JSON, or not as JSON that a document can hold.
    #[error("`{path}` is compared with a value that JSON does not have: {reason}")]
    #[non_exhaustive]
    InvalidValue {
        /// The field.
        path: String,
        /// What is wrong with the value.
        reason: String,
    },

    /// `_id` and `_version` are columns of one type each and compare with nothing else.
    #[error("`{column}` compares with {expected} only, not with {found}")]
    #[non_exhaustive]
    WrongColumnType {
        /// The column.
        column: &'static str,
        /// What the column holds.
        expected: &'static str,
        /// The JSON type that was given.
        found: &'static str,
    },

    /// A value to compare with contains a key that begins with `$`. Operators stand directly below a
    /// dotted path: `{"a.b": {"$gt": 1}}`, not `{"a": {"b": {"$gt": 1}}}`.
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

    /// Text with the character U+0000, which PostgreSQL stores neither in text nor in JSONB.
    #[error("`{path}` is compared with text that contains U+0000")]
    #[non_exhaustive]
    NulInValue {
        /// The field.
        path: String,
    },

    /// The name of a field cannot be used as a path.
    #[error("`{path}` is not a field: {reason}")]
    #[non_exhaustive]
    InvalidPath {
        /// The path as it was written.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// An upsert makes a document of the fields that its filter compares by equality, and one of them is compared with two
    /// values, or with one value and inside of it with another.
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
        /// The field, or the part of the document that is wrong.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A selection of fields is not one.
    #[error("cannot select `{path}`: {reason}")]
    #[non_exhaustive]
    InvalidSelection {
        /// The field, or the selection.
        path: String,
        /// What is wrong with it.
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

    /// Each line has what is refused, and its message.
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

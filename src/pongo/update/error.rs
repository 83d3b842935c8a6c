use crate::json::JsonError;
use crate::pongo::filter::FilterError;
use std::sync::Arc;

/// Why an update document was refused. Nothing has been sent to the database then.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The update is not an object.
    #[error("an update must be an object of operators, not {found}")]
    #[non_exhaustive]
    NotAnObject {
        /// The JSON type that stands there.
        found: &'static str,
    },

    /// The update says nothing.
    #[error("an update needs at least one operator, such as `$set`")]
    Empty,

    /// The update has a field where operators stand: it is a whole document, or a mistake.
    #[error(
        "`{key}` is not an operator: an update consists of operators such as `$set`, and replace_one replaces a whole document"
    )]
    #[non_exhaustive]
    PlainKey {
        /// The key that does not begin with `$`.
        key: String,
    },

    /// The operator does not exist or is not supported.
    #[error("the operator `{operator}` is not supported in an update")]
    #[non_exhaustive]
    UnknownOperator {
        /// The operator as it was written.
        operator: String,
    },

    /// An operator takes an object with a field for each change.
    #[error("`{operator}` needs an object of fields, not {found}")]
    #[non_exhaustive]
    NoFields {
        /// The operator.
        operator: &'static str,
        /// The JSON type that was given.
        found: &'static str,
    },

    /// The operator's operand is not one that it can work with.
    #[error("`{operator}` of `{path}` needs {expected}, not {found}")]
    #[non_exhaustive]
    WrongOperand {
        /// The operator.
        operator: &'static str,
        /// The field.
        path: String,
        /// What the operator works with.
        expected: &'static str,
        /// The value that was given, or its JSON type.
        found: String,
    },

    /// `$push` knows `$each`, `$position`, `$sort` and `$slice`, `$addToSet` knows `$each`, and `$each` must be there.
    #[error("`{operator}` of `{path}` does not work with `{modifier}`{hint}")]
    #[non_exhaustive]
    Modifier {
        /// The operator.
        operator: &'static str,
        /// The field.
        path: String,
        /// The modifier as it was written.
        modifier: String,
        /// What to do about it.
        hint: &'static str,
    },

    /// The name of a field cannot be used as a path.
    #[error("`{operator}` of `{path}` names no field: {reason}")]
    #[non_exhaustive]
    InvalidPath {
        /// The operator.
        operator: &'static str,
        /// The path as it was written.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// `_id` and `_version` belong to the library.
    #[error("`{operator}` of `{path}` is not possible: `{field}` cannot be changed")]
    #[non_exhaustive]
    Immutable {
        /// The operator.
        operator: &'static str,
        /// The path as it was written.
        path: String,
        /// The field that cannot be changed.
        field: &'static str,
    },

    /// Two operators touch the same field, or a field and what is inside it.
    #[error(
        "`{operator}` of `{path}` and `{other_operator}` of `{other_path}` conflict: an update touches each field once"
    )]
    #[non_exhaustive]
    Conflict {
        /// One of the operators.
        operator: &'static str,
        /// Its path.
        path: String,
        /// The other operator.
        other_operator: &'static str,
        /// Its path: the same, or one inside the first.
        other_path: String,
    },

    /// A value cannot be kept as `jsonb`.
    #[error("the value of `{operator}` of `{path}` cannot be stored")]
    #[non_exhaustive]
    Value {
        /// The operator.
        operator: &'static str,
        /// The field.
        path: String,
        /// Why.
        source: Arc<JsonError>,
    },

    /// The condition of a `$pull` is not a filter.
    #[error("the condition of `$pull` of `{path}` is not valid")]
    #[non_exhaustive]
    Condition {
        /// The field.
        path: String,
        /// Why.
        source: FilterError,
    },
}

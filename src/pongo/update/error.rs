use crate::json::JsonError;
use crate::pongo::filter::FilterError;
use std::sync::Arc;

/// The reason for which an update document was refused. Nothing was sent to the database.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The update is not an object.
    #[error("an update must be an object of operators, not {found}")]
    #[non_exhaustive]
    NotAnObject {
        /// The JSON type of the update.
        found: &'static str,
    },

    /// The update is empty.
    #[error("an update needs at least one operator, such as `$set`")]
    Empty,

    /// The update has a field in place of an operator: it is a whole document, or a mistake.
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

    /// The operand of an operator is not an object with a field for each change.
    #[error("`{operator}` needs an object of fields, not {found}")]
    #[non_exhaustive]
    NoFields {
        /// The operator.
        operator: &'static str,
        /// The JSON type that was given.
        found: &'static str,
    },

    /// The operand is invalid for the operator.
    #[error("`{operator}` of `{path}` needs {expected}, not {found}")]
    #[non_exhaustive]
    WrongOperand {
        /// The operator.
        operator: &'static str,
        /// The field.
        path: String,
        /// The operands that the operator accepts.
        expected: &'static str,
        /// The given value, or its JSON type.
        found: String,
    },

    /// A modifier is unknown, or `$each` is missing. `$push` takes `$each`, `$position`, `$sort` and `$slice`; `$addToSet`
    /// takes `$each`.
    #[error("`{operator}` of `{path}` does not work with `{modifier}`{hint}")]
    #[non_exhaustive]
    Modifier {
        /// The operator.
        operator: &'static str,
        /// The field.
        path: String,
        /// The modifier as it was written.
        modifier: String,
        /// The correction.
        hint: &'static str,
    },

    /// The name of a field is not a valid path.
    #[error("`{operator}` of `{path}` names no field: {reason}")]
    #[non_exhaustive]
    InvalidPath {
        /// The operator.
        operator: &'static str,
        /// The path as it was written.
        path: String,
        /// The reason.
        reason: &'static str,
    },

    /// `_id` and `_version` cannot be changed.
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

    /// Two operators touch the same field, or a field and a part of it.
    #[error(
        "`{operator}` of `{path}` and `{other_operator}` of `{other_path}` conflict: an update touches each field once"
    )]
    #[non_exhaustive]
    Conflict {
        /// One of the operators.
        operator: &'static str,
        /// The path of that operator.
        path: String,
        /// The other operator.
        other_operator: &'static str,
        /// The path of the other operator: the same, or one inside the first.
        other_path: String,
    },

    /// A value cannot be stored as `jsonb`.
    #[error("the value of `{operator}` of `{path}` cannot be stored")]
    #[non_exhaustive]
    Value {
        /// The operator.
        operator: &'static str,
        /// The field.
        path: String,
        /// The cause.
        source: Arc<JsonError>,
    },

    /// The condition of a `$pull` is not a valid filter.
    #[error("the condition of `$pull` of `{path}` is not valid")]
    #[non_exhaustive]
    Condition {
        /// The field.
        path: String,
        /// The cause.
        source: FilterError,
    },
}

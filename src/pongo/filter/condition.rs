//! A filter as a tree, and the queries on it.

use std::slice;

use serde_json::Value;

use super::json_type::JsonType;
use super::regex::Regex;
use crate::pongo::dotted_path::{Column, DottedPath};

/// A condition on a document, or on an object in an array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    /// All of these hold.
    All(Vec<Condition>),
    /// At least one of these holds. An empty list never holds.
    Any(Vec<Condition>),
    Not(Box<Condition>),
    /// The field satisfies all predicates. In a document, `_id` and `_version` are columns.
    Field(DottedPath, Vec<Predicate>),
}

/// One condition on the value of a field, or on an element of an array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Predicate {
    /// Explicit equality with the value. An upsert turns it into a field.
    Equal(Value),
    /// Equality with one of these. An empty list matches nothing.
    AnyOf(Vec<Value>),
    /// Of the operand's type, and less or greater than it. The operand is a string, a number or a boolean.
    Range(RangeOperator, Value),
    /// Present, even as null.
    Exists,
    /// Not all of these.
    Not(Vec<Predicate>),
    /// All of these.
    All(Vec<Predicate>),
    /// A value of one of these types.
    OfType(Vec<JsonType>),
    /// An array of this length.
    Size(u64),
    /// A string in which the regular expression matches.
    Matches(Regex),
    /// An array with an element that matches.
    ElemMatch(ElementCondition),
}

/// A condition on an element of an array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ElementCondition {
    /// The element itself satisfies all of these.
    Value(Vec<Predicate>),
    /// The element is an object that matches.
    Object(Condition),
}

/// `$gt`, `$gte`, `$lt` and `$lte`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeOperator {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl RangeOperator {
    /// The operator's sign, which is the same in SQL and in its JSON path language.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }

    pub(super) fn is_lower_bound(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual)
    }

    pub(super) fn includes_equal(self) -> bool {
        matches!(self, Self::GreaterOrEqual | Self::LessOrEqual)
    }
}

impl Condition {
    /// Joins conditions by AND. A single condition stays as it is.
    pub(super) fn all(mut conditions: Vec<Self>) -> Self {
        match conditions.pop() {
            Some(only) if conditions.is_empty() => only,
            last => {
                conditions.extend(last);
                Self::All(conditions)
            }
        }
    }

    pub(super) fn none(conditions: Vec<Self>) -> Self {
        Self::Not(Box::new(Self::Any(conditions)))
    }

    pub(super) fn and(self, other: Self) -> Self {
        match self {
            Self::All(mut conditions) => {
                conditions.push(other);
                Self::All(conditions)
            }
            one => Self::All(vec![one, other]),
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        match self {
            Self::Any(mut conditions) => {
                conditions.push(other);
                Self::Any(conditions)
            }
            one => Self::Any(vec![one, other]),
        }
    }

    /// Returns the id of the only document that can match, if the filter tests `_id` for equality.
    pub(super) fn pinned_id(&self) -> Option<&str> {
        match self {
            Self::All(conditions) => conditions.iter().find_map(Self::pinned_id),
            Self::Field(path, predicates) if path.as_str() == Column::Id.name() => {
                only_equal(predicates)?.as_str()
            }
            _ => None,
        }
    }

    /// Returns whether the filter only tests top-level fields for equality with strings, numbers or booleans. One plan is then
    /// good for all values.
    pub(super) fn is_plain_equality(&self) -> bool {
        match self {
            Self::All(conditions) => {
                !conditions.is_empty() && conditions.iter().all(Self::is_plain_equality)
            }
            Self::Field(path, predicates) => {
                path.is_top_level() && only_equal(predicates).is_some_and(is_scalar)
            }
            Self::Any(_) | Self::Not(_) => false,
        }
    }

    /// Returns the fields that are compared by equality, from which an upsert creates a document. The columns are not included.
    pub(super) fn equal_fields(&self) -> Vec<(&DottedPath, &Value)> {
        match self {
            Self::All(conditions) => conditions.iter().flat_map(Self::equal_fields).collect(),
            Self::Field(path, predicates) if path.column().is_none() => {
                let values = predicates.iter().filter_map(Predicate::equal);
                values.map(|value| (path, value)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Predicate {
    /// Returns the values, one of which the field must equal.
    pub(super) fn values(&self) -> Option<&[Value]> {
        match self {
            Self::Equal(value) => Some(slice::from_ref(value)),
            Self::AnyOf(values) => Some(values),
            _ => None,
        }
    }

    fn equal(&self) -> Option<&Value> {
        match self {
            Self::Equal(value) => Some(value),
            _ => None,
        }
    }
}

/// Returns the value of a lone equality.
fn only_equal(predicates: &[Predicate]) -> Option<&Value> {
    match predicates {
        [predicate] => predicate.equal(),
        _ => None,
    }
}

pub(super) fn is_scalar(value: &Value) -> bool {
    value.is_string() || value.is_number() || value.is_boolean()
}

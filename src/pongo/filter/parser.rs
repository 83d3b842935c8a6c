//! Parses MongoDB's filters into trees. A tree can be written as SQL, except for two parts that are checked later. These are
//! regular expressions, which only PostgreSQL can check, and values that cannot be compared with a column.

use serde_json::{Map, Value};

use super::condition::{Condition, ElementCondition, Predicate, RangeOperator};
use super::error::FilterError;
use super::json_type::JsonType;
use super::regex::Regex;
use crate::json;
use crate::pongo::dotted_path::DottedPath;

#[cfg(test)]
mod tests;

/// Parses a filter of MongoDB. `place` names it in messages.
pub(super) fn filter(place: &str, filter: Value) -> Result<Condition, FilterError> {
    let Value::Object(entries) = filter else {
        return Err(FilterError::NotAnObject {
            place: place.to_owned(),
            found: type_name(&filter),
        });
    };
    let conditions = entries
        .into_iter()
        .map(|(key, operand)| entry(key, operand));
    conditions.collect::<Result<_, _>>().map(Condition::all)
}

/// Parses an operator on a field or an element. `path` names it in messages.
pub(super) fn predicate(
    path: &str,
    operator: &str,
    operand: Value,
) -> Result<Predicate, FilterError> {
    Operator::new(operator, path).predicate(operand)
}

/// Parses the operand of an operator such as `$elemMatch`. The operators that join filters begin a filter; all others are
/// conditions on the element.
pub(super) fn element(
    operator: &str,
    path: &str,
    operand: Value,
) -> Result<ElementCondition, FilterError> {
    let Value::Object(object) = operand else {
        let expected = "an object with operators or fields";
        return Err(Operator::new(operator, path).refused(expected, type_name(&operand)));
    };
    let joins_filters = |key: &String| matches!(key.as_str(), "$and" | "$or" | "$nor");
    if !object.keys().any(joins_filters) && are_operators(path, &object)? {
        return operators(path, object).map(ElementCondition::Value);
    }
    filter("the filter of an element", object.into()).map(ElementCondition::Object)
}

fn entry(key: String, operand: Value) -> Result<Condition, FilterError> {
    match key.as_str() {
        "$and" => branches(&key, operand).map(Condition::all),
        "$or" => branches(&key, operand).map(Condition::Any),
        "$nor" => branches(&key, operand).map(Condition::none),
        _ if key.starts_with('$') => Err(FilterError::UnknownOperator {
            operator: key,
            place: "beside the fields of a filter".to_owned(),
        }),
        _ => field(key, operand),
    }
}

fn branches(operator: &str, operand: Value) -> Result<Vec<Condition>, FilterError> {
    let branches = match operand {
        Value::Array(branches) if !branches.is_empty() => branches,
        _ => {
            return Err(FilterError::NoBranches {
                operator: operator.to_owned(),
            });
        }
    };
    let place = format!("each entry of `{operator}`");
    let branches = branches.into_iter().map(|branch| filter(&place, branch));
    branches.collect()
}

/// Parses the operand of a path: an object of operators, or a value to compare with.
fn field(path: String, operand: Value) -> Result<Condition, FilterError> {
    let path = DottedPath::parse(path)?;
    let predicates = match operand {
        Value::Object(object) if are_operators(path.as_str(), &object)? => {
            operators(path.as_str(), object)?
        }
        value => vec![equal(path.as_str(), value)?],
    };
    Ok(Condition::Field(path, predicates))
}

/// Returns whether an object consists of operators. `{}` does not.
fn are_operators(path: &str, object: &Map<String, Value>) -> Result<bool, FilterError> {
    let operator = object.keys().find(|key| key.starts_with('$'));
    let plain = object.keys().find(|key| !key.starts_with('$'));
    match (operator, plain) {
        (Some(operator), Some(key)) => Err(FilterError::MixedKeys {
            path: path.to_owned(),
            operator: operator.clone(),
            key: key.clone(),
        }),
        (operator, _) => Ok(operator.is_some()),
    }
}

fn operators(path: &str, mut object: Map<String, Value>) -> Result<Vec<Predicate>, FilterError> {
    let options = if object.contains_key("$regex") {
        object.shift_remove("$options")
    } else {
        None
    };
    let predicates = object.into_iter().map(|(name, operand)| {
        let operator = Operator::new(&name, path);
        match name.as_str() {
            "$regex" => operator.regex(&operand, options.as_ref()),
            _ => operator.predicate(operand),
        }
    });
    predicates.collect()
}

fn equal(path: &str, value: Value) -> Result<Predicate, FilterError> {
    refuse_unstorable(path, &value)?;
    Ok(Predicate::Equal(value))
}

/// An operator on a field or an element. `path` names it in messages.
#[derive(Clone, Copy)]
struct Operator<'o> {
    name: &'o str,
    path: &'o str,
}

impl<'o> Operator<'o> {
    fn new(name: &'o str, path: &'o str) -> Self {
        Self { name, path }
    }

    fn predicate(self, operand: Value) -> Result<Predicate, FilterError> {
        match self.name {
            "$eq" => equal(self.path, operand),
            "$ne" => Ok(Predicate::Not(vec![equal(self.path, operand)?])),
            "$in" => self.any_of(operand),
            "$nin" => Ok(Predicate::Not(vec![self.any_of(operand)?])),
            "$gt" => self.range(RangeOperator::Greater, operand),
            "$gte" => self.range(RangeOperator::GreaterOrEqual, operand),
            "$lt" => self.range(RangeOperator::Less, operand),
            "$lte" => self.range(RangeOperator::LessOrEqual, operand),
            "$exists" => match operand {
                Value::Bool(true) => Ok(Predicate::Exists),
                Value::Bool(false) => Ok(Predicate::Not(vec![Predicate::Exists])),
                _ => Err(self.refused("true or false", type_name(&operand))),
            },
            "$not" => match operand {
                Value::Object(object) if are_operators(self.path, &object)? => {
                    operators(self.path, object).map(Predicate::Not)
                }
                _ => Err(self.refused("an object with operators", type_name(&operand))),
            },
            "$type" => self.of_type(&operand),
            "$all" => self.all(operand),
            "$size" => {
                let expected = "a whole number that is not negative";
                let size = whole_number(&operand).map(Predicate::Size);
                size.ok_or_else(|| self.refused(expected, operand))
            }
            "$regex" => self.regex(&operand, None),
            "$elemMatch" => element(self.name, self.path, operand).map(Predicate::ElemMatch),
            "$options" => Err(self.unknown("without `$regex` ")),
            _ => Err(self.unknown("")),
        }
    }

    fn any_of(self, operand: Value) -> Result<Predicate, FilterError> {
        let Value::Array(values) = operand else {
            return Err(self.refused("an array of values", type_name(&operand)));
        };
        values
            .iter()
            .try_for_each(|value| refuse_unstorable(self.path, value))?;
        Ok(Predicate::AnyOf(values))
    }

    /// MongoDB's null equals itself and a missing field. It is neither greater nor less than any value.
    fn range(self, range: RangeOperator, operand: Value) -> Result<Predicate, FilterError> {
        refuse_unstorable(self.path, &operand)?;
        match operand {
            Value::Null if range.includes_equal() => Ok(Predicate::AnyOf(vec![operand])),
            Value::Null => Ok(Predicate::AnyOf(vec![])),
            Value::Array(_) | Value::Object(_) => {
                let expected = "a string, a number, a boolean or null";
                Err(self.refused(expected, type_name(&operand)))
            }
            _ => Ok(Predicate::Range(range, operand)),
        }
    }

    fn of_type(self, operand: &Value) -> Result<Predicate, FilterError> {
        let names = match operand {
            Value::Array(names) => names.as_slice(),
            name => std::slice::from_ref(name),
        };
        if names.is_empty() {
            return Err(self.refused(JsonType::KNOWN, operand));
        }
        let types = names
            .iter()
            .map(|name| JsonType::named(name).ok_or_else(|| self.refused(JsonType::KNOWN, name)));
        types.collect::<Result<_, _>>().map(Predicate::OfType)
    }

    /// Matches an array with each value, or with a matching element for each `$elemMatch`. An empty list matches nothing.
    fn all(self, operand: Value) -> Result<Predicate, FilterError> {
        let Value::Array(entries) = operand else {
            return Err(self.refused("an array of values", type_name(&operand)));
        };
        let has_elem_match = |entry: &Value| entry.get("$elemMatch").is_some();
        if entries.is_empty() {
            return Ok(Predicate::AnyOf(vec![]));
        }
        if !entries.iter().any(has_elem_match) {
            let equal = entries.into_iter().map(|entry| equal(self.path, entry));
            return equal.collect::<Result<_, _>>().map(Predicate::All);
        }
        let is_elem_match = |entry: &Value| {
            has_elem_match(entry) && entry.as_object().is_some_and(|keys| keys.len() == 1)
        };
        if !entries.iter().all(is_elem_match) {
            let expected = "values only or objects of `$elemMatch` only";
            return Err(self.refused(expected, "a mixture"));
        }
        let matches = entries.into_iter().map(|mut entry| {
            let filter = entry["$elemMatch"].take();
            element("$elemMatch", self.path, filter).map(Predicate::ElemMatch)
        });
        matches.collect::<Result<_, _>>().map(Predicate::All)
    }

    fn regex(self, pattern: &Value, options: Option<&Value>) -> Result<Predicate, FilterError> {
        const LETTERS: &str = "a string of the letters i, m, s and x";
        let Value::String(text) = pattern else {
            return Err(self.refused("a string", type_name(pattern)));
        };
        refuse_nul(self.path, text)?;
        let of_options = Self::new("$options", self.path);
        let letters = match options {
            None => "",
            Some(Value::String(letters)) => letters,
            Some(other) => return Err(of_options.refused(LETTERS, type_name(other))),
        };
        Regex::new(self.path, text, letters)
            .map(Predicate::Matches)
            .map_err(|letter| of_options.refused(LETTERS, Value::from(letter.to_string())))
    }

    fn unknown(self, without: &str) -> FilterError {
        FilterError::UnknownOperator {
            operator: self.name.to_owned(),
            place: format!("{without}for the field `{}`", self.path),
        }
    }

    /// `found` is the operand's type, or the operand if its type is right.
    fn refused(self, expected: &'static str, found: impl ToString) -> FilterError {
        FilterError::WrongOperand {
            operator: self.name.to_owned(),
            path: self.path.to_owned(),
            expected,
            found: found.to_string(),
        }
    }
}

fn refuse_unstorable(path: &str, value: &Value) -> Result<(), FilterError> {
    match value {
        Value::String(text) => refuse_nul(path, text),
        Value::Array(values) => values
            .iter()
            .try_for_each(|value| refuse_unstorable(path, value)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            if key.starts_with('$') {
                return Err(FilterError::OperatorInValue {
                    path: path.to_owned(),
                    key: key.clone(),
                });
            }
            refuse_nul(path, key)?;
            refuse_unstorable(path, value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn refuse_nul(path: &str, text: &str) -> Result<(), FilterError> {
    if text.contains('\0') {
        return Err(FilterError::NulInValue {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Returns a whole number, even if it is written with a fraction of 0, as MongoDB's drivers do.
fn whole_number(value: &Value) -> Option<u64> {
    const MOST: f64 = u32::MAX as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked in the same line"
    )]
    let of_float = |float: f64| {
        ((0.0..=MOST).contains(&float) && float.fract() == 0.0).then_some(float as u64)
    };
    value.as_u64().or_else(|| value.as_f64().and_then(of_float))
}

/// Returns the JSON type of a value for messages about filters, which distinguish empty objects.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Object(fields) if fields.is_empty() => "an empty object",
        _ => json::type_name(value),
    }
}

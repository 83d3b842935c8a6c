//! The conditions that a filter puts on one field: checked and reduced to a few kinds.

use serde_json::{Map, Value};

use super::error::FilterError;
use super::json_type::JsonType;
use super::regex::Regex;
use crate::json;

/// One condition on the value of a field.
#[derive(Debug, PartialEq)]
pub(super) enum Predicate<'v> {
    /// Equal to one of these; nothing is, when there are none.
    AnyOf(Vec<&'v Value>),
    /// Of the operand's type, and before or after it. The operand is a string, a number or a boolean.
    Range(RangeOperator, &'v Value),
    /// Present, even as null.
    Exists,
    /// Not all of these.
    Not(Vec<Predicate<'v>>),
    /// All of these.
    All(Vec<Predicate<'v>>),
    /// A value of one of these types.
    OfType(Vec<JsonType>),
    /// An array of this length.
    Size(u64),
    /// A string in which the regular expression matches.
    Matches(Regex),
    /// An array with an element that matches.
    ElemMatch(ElementFilter<'v>),
}

/// What `$elemMatch` demands of an element.
#[derive(Debug, PartialEq)]
pub(super) enum ElementFilter<'v> {
    /// The element itself satisfies all of these.
    Value(Vec<Predicate<'v>>),
    /// The element is an object that matches this filter.
    Object(&'v Value),
}

/// `$gt`, `$gte`, `$lt` and `$lte`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RangeOperator {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl RangeOperator {
    /// The operator's sign, the same in SQL and in its JSON path language.
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

    fn includes_equal(self) -> bool {
        matches!(self, Self::GreaterOrEqual | Self::LessOrEqual)
    }
}

/// The conditions that stand behind `path` in a filter: an object of operators, or a value to be equal to.
pub(super) fn predicates<'v>(
    path: &str,
    condition: &'v Value,
) -> Result<Vec<Predicate<'v>>, FilterError> {
    match operators(path, condition)? {
        Some(operators) => parse_operators(path, operators),
        None => Ok(vec![equal(path, condition)?]),
    }
}

/// The operators of an object of operators; `None` for every other value, also for `{}`.
fn operators<'v>(
    path: &str,
    condition: &'v Value,
) -> Result<Option<&'v Map<String, Value>>, FilterError> {
    let Some(object) = condition.as_object() else {
        return Ok(None);
    };
    let operator = object.keys().find(|key| key.starts_with('$'));
    let plain = object.keys().find(|key| !key.starts_with('$'));
    match (operator, plain) {
        (Some(operator), Some(key)) => Err(FilterError::MixedKeys {
            path: path.to_owned(),
            operator: operator.clone(),
            key: key.clone(),
        }),
        (Some(_), None) => Ok(Some(object)),
        (None, _) => Ok(None),
    }
}

fn parse_operators<'v>(
    path: &str,
    operators: &'v Map<String, Value>,
) -> Result<Vec<Predicate<'v>>, FilterError> {
    operators
        .iter()
        .filter(|(operator, _)| *operator != "$options" || !operators.contains_key("$regex"))
        .map(|(operator, operand)| match operator.as_str() {
            "$regex" => regex(path, operand, operators.get("$options")),
            _ => parse_operator(path, operator, operand),
        })
        .collect()
}

fn parse_operator<'v>(
    path: &str,
    operator: &str,
    operand: &'v Value,
) -> Result<Predicate<'v>, FilterError> {
    match operator {
        "$eq" => equal(path, operand),
        "$ne" => Ok(Predicate::Not(vec![equal(path, operand)?])),
        "$in" => any_of(path, operator, operand),
        "$nin" => Ok(Predicate::Not(vec![any_of(path, operator, operand)?])),
        "$gt" => range(path, operator, RangeOperator::Greater, operand),
        "$gte" => range(path, operator, RangeOperator::GreaterOrEqual, operand),
        "$lt" => range(path, operator, RangeOperator::Less, operand),
        "$lte" => range(path, operator, RangeOperator::LessOrEqual, operand),
        "$exists" => exists(path, operator, operand),
        "$not" => not(path, operator, operand),
        "$type" => of_type(path, operator, operand),
        "$all" => all(path, operator, operand),
        "$size" => size(path, operator, operand),
        "$elemMatch" => element_filter(operator, path, operand).map(Predicate::ElemMatch),
        "$options" => Err(FilterError::UnknownOperator {
            operator: operator.to_owned(),
            place: format!("without `$regex` for the field `{path}`"),
        }),
        _ => Err(FilterError::UnknownOperator {
            operator: operator.to_owned(),
            place: format!("for the field `{path}`"),
        }),
    }
}

pub(super) fn equal<'v>(path: &str, operand: &'v Value) -> Result<Predicate<'v>, FilterError> {
    refuse_unstorable(path, operand)?;
    Ok(Predicate::AnyOf(vec![operand]))
}

fn any_of<'v>(
    path: &str,
    operator: &str,
    operand: &'v Value,
) -> Result<Predicate<'v>, FilterError> {
    let Value::Array(values) = operand else {
        return Err(wrong_operand(path, operator, "an array of values", operand));
    };
    refuse_unstorable(path, operand)?;
    Ok(Predicate::AnyOf(values.iter().collect()))
}

/// MongoDB's null is equal to itself and to a missing field, and neither before nor after anything.
fn range<'v>(
    path: &str,
    operator: &str,
    range: RangeOperator,
    operand: &'v Value,
) -> Result<Predicate<'v>, FilterError> {
    refuse_unstorable(path, operand)?;
    match operand {
        Value::Null if range.includes_equal() => Ok(Predicate::AnyOf(vec![operand])),
        Value::Null => Ok(Predicate::AnyOf(vec![])),
        Value::Array(_) | Value::Object(_) => Err(wrong_operand(
            path,
            operator,
            "a string, a number, a boolean or null",
            operand,
        )),
        _ => Ok(Predicate::Range(range, operand)),
    }
}

fn exists<'v>(
    path: &str,
    operator: &str,
    operand: &'v Value,
) -> Result<Predicate<'v>, FilterError> {
    match operand {
        Value::Bool(true) => Ok(Predicate::Exists),
        Value::Bool(false) => Ok(Predicate::Not(vec![Predicate::Exists])),
        _ => Err(wrong_operand(path, operator, "true or false", operand)),
    }
}

fn not<'v>(path: &str, operator: &str, operand: &'v Value) -> Result<Predicate<'v>, FilterError> {
    match operators(path, operand)? {
        Some(operators) => parse_operators(path, operators).map(Predicate::Not),
        None => Err(wrong_operand(
            path,
            operator,
            "an object with operators",
            operand,
        )),
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

fn of_type<'v>(
    path: &str,
    operator: &str,
    operand: &'v Value,
) -> Result<Predicate<'v>, FilterError> {
    let names = match operand {
        Value::Array(names) => names.as_slice(),
        name => std::slice::from_ref(name),
    };
    if names.is_empty() {
        return Err(refused_operand(path, operator, JsonType::KNOWN, operand));
    }
    let types = names.iter().map(|name| {
        JsonType::named(name).ok_or_else(|| refused_operand(path, operator, JsonType::KNOWN, name))
    });
    types.collect::<Result<_, _>>().map(Predicate::OfType)
}

/// Equal to each value, or with a matching element for each `$elemMatch`; no array has all of nothing.
fn all<'v>(path: &str, operator: &str, operand: &'v Value) -> Result<Predicate<'v>, FilterError> {
    let Value::Array(entries) = operand else {
        return Err(wrong_operand(path, operator, "an array of values", operand));
    };
    if entries.is_empty() {
        return Ok(Predicate::AnyOf(vec![]));
    }
    let is_elem_match = |entry: &Value| entry.get("$elemMatch").is_some();
    let elem_matches = entries.iter().filter(|entry| is_elem_match(entry)).count();
    if elem_matches == 0 {
        let equal = entries.iter().map(|entry| equal(path, entry));
        return equal.collect::<Result<_, _>>().map(Predicate::All);
    }
    let only_elem_match = |entry: &Value| entry.as_object().is_some_and(|keys| keys.len() == 1);
    if elem_matches < entries.len() || !entries.iter().all(only_elem_match) {
        return Err(FilterError::WrongOperand {
            operator: operator.to_owned(),
            path: path.to_owned(),
            expected: "values only or objects of `$elemMatch` only",
            found: "a mixture".to_owned(),
        });
    }
    let matches = entries.iter().map(|entry| {
        let filter = element_filter("$elemMatch", path, &entry["$elemMatch"])?;
        Ok(Predicate::ElemMatch(filter))
    });
    matches.collect::<Result<_, _>>().map(Predicate::All)
}

fn size<'v>(path: &str, operator: &str, operand: &'v Value) -> Result<Predicate<'v>, FilterError> {
    whole_number(operand).map(Predicate::Size).ok_or_else(|| {
        refused_operand(
            path,
            operator,
            "a whole number that is not negative",
            operand,
        )
    })
}

/// A number without fraction, also when it is written with one, as MongoDB's drivers do.
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

fn regex<'v>(
    path: &str,
    pattern: &Value,
    options: Option<&Value>,
) -> Result<Predicate<'v>, FilterError> {
    const LETTERS: &str = "a string of the letters i, m, s and x";
    let Value::String(text) = pattern else {
        return Err(wrong_operand(path, "$regex", "a string", pattern));
    };
    refuse_nul(path, text)?;
    let letters = match options {
        None => "",
        Some(Value::String(letters)) => letters,
        Some(other) => return Err(wrong_operand(path, "$options", LETTERS, other)),
    };
    Regex::new(path, text, letters)
        .map(Predicate::Matches)
        .map_err(|letter| refused_operand(path, "$options", LETTERS, &letter.to_string().into()))
}

/// What stands behind `$elemMatch`. The operators that join filters begin a filter, all others are about the element.
pub(super) fn element_filter<'v>(
    operator: &str,
    path: &str,
    operand: &'v Value,
) -> Result<ElementFilter<'v>, FilterError> {
    let Some(object) = operand.as_object() else {
        return Err(wrong_operand(
            path,
            operator,
            "an object with operators or fields",
            operand,
        ));
    };
    if object.keys().any(|key| joins_filters(key)) {
        return Ok(ElementFilter::Object(operand));
    }
    Ok(match operators(path, operand)? {
        Some(operators) => ElementFilter::Value(parse_operators(path, operators)?),
        None => ElementFilter::Object(operand),
    })
}

fn joins_filters(operator: &str) -> bool {
    matches!(operator, "$and" | "$or" | "$nor")
}

fn refuse_nul(path: &str, text: &str) -> Result<(), FilterError> {
    if text.contains('\0') {
        return Err(FilterError::NulInValue {
            path: path.to_owned(),
        });
    }
    Ok(())
}

fn wrong_operand(path: &str, operator: &str, expected: &'static str, found: &Value) -> FilterError {
    FilterError::WrongOperand {
        operator: operator.to_owned(),
        path: path.to_owned(),
        expected,
        found: type_name(found).to_owned(),
    }
}

/// Like [`wrong_operand`], for one whose type is right and that has to be shown.
fn refused_operand(
    path: &str,
    operator: &str,
    expected: &'static str,
    found: &Value,
) -> FilterError {
    FilterError::WrongOperand {
        operator: operator.to_owned(),
        path: path.to_owned(),
        expected,
        found: found.to_string(),
    }
}

/// The JSON type of a value, as messages about filters name it: whether an object is empty matters here.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Object(fields) if fields.is_empty() => "an empty object",
        _ => json::type_name(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(condition: &Value) -> String {
        predicates("total", condition).unwrap_err().to_string()
    }

    #[test]
    fn a_value_is_something_to_be_equal_to() {
        for value in [
            json!(1),
            json!(null),
            json!({}),
            json!({"a": 1}),
            json!([]),
            json!([1]),
        ] {
            assert_eq!(
                predicates("total", &value),
                Ok(vec![Predicate::AnyOf(vec![&value])])
            );
            let explicit = json!({"$eq": value});
            assert_eq!(
                predicates("total", &explicit),
                Ok(vec![Predicate::AnyOf(vec![&value])])
            );
        }
    }

    #[test]
    fn every_operator_becomes_one_of_a_few_kinds() {
        let one = &json!(1);
        let cases = [
            (
                json!({"$ne": 1}),
                Predicate::Not(vec![Predicate::AnyOf(vec![one])]),
            ),
            (json!({"$in": [1]}), Predicate::AnyOf(vec![one])),
            (json!({"$in": []}), Predicate::AnyOf(vec![])),
            (
                json!({"$nin": [1, 1]}),
                Predicate::Not(vec![Predicate::AnyOf(vec![one, one])]),
            ),
            (
                json!({"$gt": 1}),
                Predicate::Range(RangeOperator::Greater, one),
            ),
            (
                json!({"$lte": 1}),
                Predicate::Range(RangeOperator::LessOrEqual, one),
            ),
            (json!({"$gte": null}), Predicate::AnyOf(vec![&Value::Null])),
            (json!({"$lt": null}), Predicate::AnyOf(vec![])),
            (json!({"$exists": true}), Predicate::Exists),
            (
                json!({"$exists": false}),
                Predicate::Not(vec![Predicate::Exists]),
            ),
            (
                json!({"$type": ["null", 3]}),
                Predicate::OfType(vec![JsonType::Null, JsonType::Object]),
            ),
            (json!({"$all": []}), Predicate::AnyOf(vec![])),
            (
                json!({"$all": [1]}),
                Predicate::All(vec![Predicate::AnyOf(vec![one])]),
            ),
            (json!({"$size": 2}), Predicate::Size(2)),
            (json!({"$size": 2.0}), Predicate::Size(2)),
            (
                json!({"$options": "i", "$regex": "a"}),
                Predicate::Matches(Regex::new("total", "a", "i").unwrap()),
            ),
            (
                json!({"$elemMatch": {"$eq": 1}}),
                Predicate::ElemMatch(ElementFilter::Value(vec![Predicate::AnyOf(vec![one])])),
            ),
            (
                json!({"$not": {"$lt": 1}}),
                Predicate::Not(vec![Predicate::Range(RangeOperator::Less, one)]),
            ),
        ];
        for (condition, expected) in cases {
            assert_eq!(
                predicates("total", &condition),
                Ok(vec![expected]),
                "{condition}"
            );
        }
    }

    #[test]
    fn an_operand_that_an_operator_cannot_use_is_named() {
        let cases = [
            (
                json!({"$type": "int"}),
                "`$type` of `total` needs one of null, bool, number, string, array and object, or an array of them, not \"int\"",
            ),
            (
                json!({"$type": ["null", 16]}),
                "`$type` of `total` needs one of null, bool, number, string, array and object, or an array of them, not 16",
            ),
            (
                json!({"$type": []}),
                "`$type` of `total` needs one of null, bool, number, string, array and object, or an array of them, not []",
            ),
            (
                json!({"$all": 1}),
                "`$all` of `total` needs an array of values, not a number",
            ),
            (
                json!({"$all": [{"$elemMatch": {"a": 1}}, 1]}),
                "`$all` of `total` needs values only or objects of `$elemMatch` only, not a mixture",
            ),
            (
                json!({"$all": [{"$elemMatch": {"a": 1}, "$gt": 1}]}),
                "`$all` of `total` needs values only or objects of `$elemMatch` only, not a mixture",
            ),
            (
                json!({"$all": [{"$gt": 1}]}),
                "`total` is compared with a value that has the key `$gt`; an operator stands directly below a dotted path",
            ),
            (
                json!({"$size": -1}),
                "`$size` of `total` needs a whole number that is not negative, not -1",
            ),
            (
                json!({"$size": 1.5}),
                "`$size` of `total` needs a whole number that is not negative, not 1.5",
            ),
            (
                json!({"$size": "1"}),
                "`$size` of `total` needs a whole number that is not negative, not \"1\"",
            ),
            (
                json!({"$regex": 1}),
                "`$regex` of `total` needs a string, not a number",
            ),
            (
                json!({"$regex": "\0"}),
                "`total` is compared with text that contains U+0000",
            ),
            (
                json!({"$regex": "a", "$options": "ig"}),
                "`$options` of `total` needs a string of the letters i, m, s and x, not \"g\"",
            ),
            (
                json!({"$regex": "a", "$options": null}),
                "`$options` of `total` needs a string of the letters i, m, s and x, not null",
            ),
            (
                json!({"$options": "i"}),
                "the operator `$options` is not supported without `$regex` for the field `total`",
            ),
            (
                json!({"$not": {"$options": "i"}}),
                "the operator `$options` is not supported without `$regex` for the field `total`",
            ),
        ];
        for (condition, expected) in cases {
            assert_eq!(message(&condition), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (
                json!({"$gte": 1, "x": 2}),
                "`total` mixes the operator `$gte` with the plain key `x`",
            ),
            (
                json!({"$near": "a"}),
                "the operator `$near` is not supported for the field `total`",
            ),
            (
                json!({"$in": "a"}),
                "`$in` of `total` needs an array of values, not a string",
            ),
            (
                json!({"$exists": 1}),
                "`$exists` of `total` needs true or false, not a number",
            ),
            (
                json!({"$not": {}}),
                "`$not` of `total` needs an object with operators, not an empty object",
            ),
            (
                json!({"$lt": [1]}),
                "`$lt` of `total` needs a string, a number, a boolean or null, not an array",
            ),
            (
                json!({"$ne": "\0"}),
                "`total` is compared with text that contains U+0000",
            ),
            (
                json!([{"a\0": 1}]),
                "`total` is compared with text that contains U+0000",
            ),
            (
                json!({"a": {"$gt": 1}}),
                "`total` is compared with a value that has the key `$gt`; an operator stands directly below a dotted path",
            ),
        ];
        for (condition, expected) in cases {
            assert_eq!(message(&condition), expected);
        }
    }
}

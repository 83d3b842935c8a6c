//! MongoDB's filters on plain Rust values, written after its manual and independently of the library. The model test
//! compares both.
//!
//! It includes the library's deliberate differences. Objects are equal in any order of their keys. Inside
//! `$elemMatch` a filter applies to objects, and not to arrays by their positions. A path with a position is missing
//! if it leads nowhere.

use serde_json::{Map, Value};
use std::cmp::Ordering;

pub(crate) fn matches(filter: &Value, document: &Value) -> bool {
    let (Value::Object(filter), Value::Object(_)) = (filter, document) else {
        return false;
    };
    filter.iter().all(|(key, operand)| match key.as_str() {
        "$and" => branches(operand).all(|branch| matches(branch, document)),
        "$or" => branches(operand).any(|branch| matches(branch, document)),
        "$nor" => !branches(operand).any(|branch| matches(branch, document)),
        path => satisfies(&Found::at(path, document), operand),
    })
}

fn branches(operand: &Value) -> impl Iterator<Item = &Value> {
    operand.as_array().into_iter().flatten()
}

/// What a path leads to.
struct Found<'d> {
    /// Each value, and whether its elements count too when it is an array.
    values: Vec<(&'d Value, bool)>,
    is_missing: bool,
}

impl<'d> Found<'d> {
    fn at(path: &str, document: &'d Value) -> Self {
        let names: Vec<&str> = path.split('.').collect();
        let mut found = Self {
            values: Vec::new(),
            is_missing: false,
        };
        found.walk(document, &names);
        if names[1..].iter().any(|name| name.parse::<i64>().is_ok()) {
            found.is_missing = found.values.is_empty();
        }
        found
    }

    /// An element of an array, as it is.
    fn element(value: &'d Value) -> Self {
        Self {
            values: vec![(value, false)],
            is_missing: false,
        }
    }

    fn walk(&mut self, value: &'d Value, names: &[&str]) {
        let Some((name, rest)) = names.split_first() else {
            self.values.push((value, true));
            return;
        };
        match value {
            Value::Object(fields) => match fields.get(*name) {
                Some(value) => self.walk(value, rest),
                None => self.is_missing = true,
            },
            Value::Array(elements) => {
                for (position, element) in elements.iter().enumerate() {
                    if element.is_object() {
                        self.walk(element, names);
                    }
                    if position.to_string() == *name {
                        self.walk_position(element, rest);
                    }
                }
            }
            _ => self.is_missing = true,
        }
    }

    /// An array that stands at the position where the path ends is compared as a whole.
    fn walk_position(&mut self, element: &'d Value, rest: &[&str]) {
        if rest.is_empty() {
            self.values.push((element, false));
        } else {
            self.walk(element, rest);
        }
    }

    fn any(&self, test: impl Fn(&Value) -> bool) -> bool {
        self.values.iter().any(|(value, with_elements)| {
            let elements = value.as_array().filter(|_| *with_elements);
            test(value) || elements.into_iter().flatten().any(&test)
        })
    }

    fn any_array(&self, test: impl Fn(&Vec<Value>) -> bool) -> bool {
        self.values
            .iter()
            .filter_map(|(value, _)| value.as_array())
            .any(test)
    }
}

fn satisfies(found: &Found<'_>, condition: &Value) -> bool {
    match operators(condition) {
        Some(operators) => satisfies_all(found, operators),
        None => is_equal(found, condition),
    }
}

fn operators(condition: &Value) -> Option<&Map<String, Value>> {
    let object = condition.as_object()?;
    object
        .keys()
        .any(|key| key.starts_with('$'))
        .then_some(object)
}

fn satisfies_all(found: &Found<'_>, operators: &Map<String, Value>) -> bool {
    operators
        .iter()
        .all(|(operator, operand)| match operator.as_str() {
            "$eq" => is_equal(found, operand),
            "$ne" => !is_equal(found, operand),
            "$in" => branches(operand).any(|value| is_equal(found, value)),
            "$nin" => !branches(operand).any(|value| is_equal(found, value)),
            "$gt" => in_range(found, operand, &[Ordering::Greater]),
            "$gte" => in_range(found, operand, &[Ordering::Greater, Ordering::Equal]),
            "$lt" => in_range(found, operand, &[Ordering::Less]),
            "$lte" => in_range(found, operand, &[Ordering::Less, Ordering::Equal]),
            "$exists" => operand.as_bool() != Some(found.values.is_empty()),
            "$not" => !satisfies(found, operand),
            "$type" => has_type(found, operand),
            "$size" => found.any_array(|elements| operand.as_u64() == Some(elements.len() as u64)),
            "$all" => has_all(found, operand),
            "$elemMatch" => elem_match(found, operand),
            "$regex" => has_match(found, operand, operators.get("$options")),
            "$options" => true,
            _ => panic!("the evaluator does not know {operator}"),
        })
}

fn is_equal(found: &Found<'_>, value: &Value) -> bool {
    (value.is_null() && found.is_missing) || found.any(|candidate| equal(candidate, value))
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && std::iter::zip(left, right).all(|(l, r)| equal(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| equal(left, right)))
        }
        _ => left == right,
    }
}

fn in_range(found: &Found<'_>, operand: &Value, wanted: &[Ordering]) -> bool {
    if operand.is_null() {
        return wanted.contains(&Ordering::Equal) && is_equal(found, operand);
    }
    found.any(|candidate| compare(candidate, operand).is_some_and(|order| wanted.contains(&order)))
}

/// The order of two values of one type.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn has_type(found: &Found<'_>, operand: &Value) -> bool {
    let types = match operand {
        Value::Array(types) => types.as_slice(),
        one => std::slice::from_ref(one),
    };
    types.iter().any(|wanted| {
        found.any(|candidate| match candidate {
            Value::Null => wanted == "null" || *wanted == 10,
            Value::Bool(_) => wanted == "bool" || *wanted == 8,
            Value::Number(_) => wanted == "number",
            Value::String(_) => wanted == "string" || *wanted == 2,
            Value::Array(_) => wanted == "array" || *wanted == 4,
            Value::Object(_) => wanted == "object" || *wanted == 3,
        })
    })
}

fn has_all(found: &Found<'_>, operand: &Value) -> bool {
    let mut entries = branches(operand).peekable();
    entries.peek().is_some()
        && entries.all(|entry| match entry.get("$elemMatch") {
            Some(filter) => elem_match(found, filter),
            None => is_equal(found, entry),
        })
}

fn elem_match(found: &Found<'_>, filter: &Value) -> bool {
    let joins = ["$and", "$or", "$nor"];
    let about_the_element = operators(filter)
        .filter(|operators| !operators.keys().any(|key| joins.contains(&key.as_str())));
    found.any_array(|elements| {
        elements.iter().any(|element| match about_the_element {
            Some(operators) => satisfies_all(&Found::element(element), operators),
            None => matches(filter, element),
        })
    })
}

fn has_match(found: &Found<'_>, pattern: &Value, options: Option<&Value>) -> bool {
    let pattern: Vec<char> = pattern.as_str().unwrap_or_default().chars().collect();
    let options = options.and_then(Value::as_str).unwrap_or_default();
    found.any(|candidate| {
        let text = candidate
            .as_str()
            .map(|text| text.chars().collect::<Vec<char>>());
        text.is_some_and(|text| (0..=text.len()).any(|at| matches_at(&pattern, &text, at, options)))
    })
}

/// Regular expressions of letters, `.`, `^` and `$`.
fn matches_at(pattern: &[char], text: &[char], at: usize, options: &str) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return true;
    };
    let has = |option| options.contains(option);
    let next = text.get(at).copied();
    let consumes = match first {
        '^' => {
            let at_line = at > 0 && text[at - 1] == '\n' && has('m');
            return (at == 0 || at_line) && matches_at(rest, text, at, options);
        }
        '$' => {
            let at_line = next == Some('\n') && has('m');
            return (next.is_none() || at_line) && matches_at(rest, text, at, options);
        }
        '.' => next.is_some_and(|letter| letter != '\n' || has('s')),
        wanted if has('i') => next.is_some_and(|letter| letter.eq_ignore_ascii_case(wanted)),
        wanted => next == Some(*wanted),
    };
    consumes && matches_at(rest, text, at + 1, options)
}

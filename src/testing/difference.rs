//! Readable differences between JSON values, field by field.

use serde_json::Value;

/// Lists the places at which two values differ, each with both values.
pub(super) fn differences(expected: &Value, found: &Value) -> Vec<String> {
    Comparison::Expectation.compare(Some(expected), Some(found))
}

/// Lists the places at which two lists of texts differ, each with both texts.
pub(super) fn list_differences(item: &str, expected: &[String], found: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for index in 0..expected.len().max(found.len()) {
        let (expected, found) = (expected.get(index), found.get(index));
        if expected != found {
            let number = index + 1;
            let (expected, found) = (or_nothing(expected), or_nothing(found));
            lines.push(format!(
                "{item} {number}: expected {expected}, found {found}"
            ));
        }
    }
    lines
}

/// Fails with a heading and the differences, if there are any.
#[track_caller]
pub(super) fn report(heading: &str, differences: &[String]) {
    assert!(
        differences.is_empty(),
        "{heading}:\n  {}",
        differences.join("\n  ")
    );
}

fn or_nothing(text: Option<&String>) -> &str {
    text.map_or("nothing", String::as_str)
}

/// What the two values are, for the words of a difference.
#[derive(Clone, Copy)]
pub(super) enum Comparison {
    /// The expected value, and the one that was found.
    Expectation,
    /// The values after the first delivery of events, and after another one.
    Delivery(u32),
}

impl Comparison {
    fn line(self, place: &str, first: &str, second: &str) -> String {
        match self {
            Self::Expectation => format!("{place}: expected {first}, found {second}"),
            Self::Delivery(number) => {
                format!("{place}: {first} after delivery 1, {second} after delivery {number}")
            }
        }
    }

    /// Lists the places at which two values differ; `None` is no value at all.
    pub(super) fn compare(self, first: Option<&Value>, second: Option<&Value>) -> Vec<String> {
        let mut lines = Vec::new();
        self.compare_at("", first, second, &mut lines);
        lines
    }

    fn compare_at(
        self,
        path: &str,
        first: Option<&Value>,
        second: Option<&Value>,
        lines: &mut Vec<String>,
    ) {
        match (first, second) {
            (Some(Value::Object(first)), Some(Value::Object(second))) => {
                for (name, value) in first {
                    self.compare_at(&field(path, name), Some(value), second.get(name), lines);
                }
                for (name, value) in second {
                    if !first.contains_key(name) {
                        self.compare_at(&field(path, name), None, Some(value), lines);
                    }
                }
            }
            (Some(Value::Array(first)), Some(Value::Array(second)))
                if first.len() == second.len() =>
            {
                for (number, (first, second)) in first.iter().zip(second).enumerate() {
                    let path = field(path, &number.to_string());
                    self.compare_at(&path, Some(first), Some(second), lines);
                }
            }
            _ if is_same(first, second) => {}
            _ => {
                let place = if path.is_empty() { "the value" } else { path };
                lines.push(self.line(place, &shown(first), &shown(second)));
            }
        }
    }
}

/// Numbers are the same by their value, as in `jsonb`.
fn is_same(first: Option<&Value>, second: Option<&Value>) -> bool {
    if first == second {
        return true;
    }
    let (Some(Value::Number(first)), Some(Value::Number(second))) = (first, second) else {
        return false;
    };
    (first.is_f64() != second.is_f64()) && first.as_f64() == second.as_f64()
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

fn field(path: &str, name: &str) -> String {
    if path.is_empty() {
        return name.to_owned();
    }
    format!("{path}.{name}")
}

#[cfg(test)]
mod tests {
    use super::differences;
    use serde_json::{Value, json};

    #[track_caller]
    fn differ(expected: Value, found: Value, lines: &[&str]) {
        assert_eq!(differences(&expected, &found), lines);
    }

    #[test]
    fn each_differing_field_is_named_with_both_values() {
        differ(json!({"a": 1}), json!({"a": 1}), &[]);
        differ(
            json!(1),
            json!("1"),
            &["the value: expected 1, found \"1\""],
        );
        differ(json!([30, 30.0]), json!([30.0, 30]), &[]);
        differ(
            json!({"a": {"b": 1, "c": [1, 2]}, "gone": null}),
            json!({"a": {"b": 2, "c": [1, 3]}, "more": true}),
            &[
                "a.b: expected 1, found 2",
                "a.c.1: expected 2, found 3",
                "gone: expected null, found nothing",
                "more: expected nothing, found true",
            ],
        );
        differ(
            json!({"a": [1, 2]}),
            json!({"a": [1]}),
            &["a: expected [1,2], found [1]"],
        );
    }
}

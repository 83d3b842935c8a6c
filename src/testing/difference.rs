//! Readable differences between JSON values, field by field.

use serde_json::Value;

/// Lists the places at which two values differ, each with both values.
pub(super) fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", expected, found, &mut lines);
    lines
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

fn or_nothing(text: Option<&String>) -> &str {
    text.map_or("nothing", String::as_str)
}

fn compare(path: &str, expected: &Value, found: &Value, lines: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (name, value) in expected {
                let path = field(path, name);
                match found.get(name) {
                    Some(found) => compare(&path, value, found, lines),
                    None => lines.push(format!("{path}: expected {value}, found nothing")),
                }
            }
            for (name, value) in found {
                if !expected.contains_key(name) {
                    let path = field(path, name);
                    lines.push(format!("{path}: expected nothing, found {value}"));
                }
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (number, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(&field(path, &number.to_string()), expected, found, lines);
            }
        }
        _ if expected == found => {}
        _ => {
            let place = if path.is_empty() { "the value" } else { path };
            lines.push(format!("{place}: expected {expected}, found {found}"));
        }
    }
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

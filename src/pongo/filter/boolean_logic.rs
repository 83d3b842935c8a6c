//! Combinations of SQL conditions that are never NULL.

pub(super) fn all_of(conditions: Vec<String>) -> String {
    joined(conditions, " AND ", "TRUE")
}

pub(super) fn any_of(conditions: Vec<String>) -> String {
    joined(conditions, " OR ", "FALSE")
}

fn joined(mut conditions: Vec<String>, operator: &str, when_empty: &str) -> String {
    match conditions.len() {
        0 => when_empty.to_owned(),
        1 => conditions.remove(0),
        _ => ["(", &conditions.join(operator), ")"].concat(),
    }
}

pub(super) fn negated(condition: &str) -> String {
    format!("(NOT {condition})")
}

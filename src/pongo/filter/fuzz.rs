//! Arbitrary filters.

use super::{Filter, SqlParameters};
use crate::fuzz::{Fuzz, Outcome, check_expression};
use serde_json::{Value, json};

/// Returns the condition of a filter, and the number of its parameters.
fn condition(filter: &Value) -> Option<(String, usize)> {
    let mut parameters = SqlParameters::new();
    let filter = Filter::from(filter.clone());
    let condition = filter.condition("public", &mut parameters).ok()?;
    Some((condition, parameters.typed().len()))
}

fn check(input: &[u8]) -> Outcome {
    let Ok(filter) = serde_json::from_slice::<Value>(input) else {
        return Ok(());
    };
    let condition_of_it = condition(&filter);
    let negated = condition(&json!({"$nor": [filter]}));
    if condition_of_it.is_some() != negated.is_some() {
        return Err("the filter or its opposite is refused, but not both".to_owned());
    }
    let (sql, parameters) = condition_of_it.unwrap_or_default();
    check_expression(&sql, parameters)
}

#[test]
fn a_filter_is_refused_or_becomes_one_expression() {
    Fuzz::parser("filter").run(check);
}

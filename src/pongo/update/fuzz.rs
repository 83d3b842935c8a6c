//! Arbitrary update documents.

use super::{Update, UpdatePhase, update_expression};
use crate::fuzz::{Fuzz, Outcome, check_expression};
use crate::pongo::filter::SqlParameters;
use serde_json::Value;

/// Returns the expression of an update, and the number of its parameters.
fn expression(update: &Value, phase: UpdatePhase) -> Option<(String, usize)> {
    let mut parameters = SqlParameters::new();
    let update = Update::from(update.clone());
    let expression = update_expression(&update, "data", phase, "public", &mut parameters).ok()?;
    Some((expression, parameters.typed().len()))
}

fn check(input: &[u8]) -> Outcome {
    let Ok(update) = serde_json::from_slice::<Value>(input) else {
        return Ok(());
    };
    let phases = [UpdatePhase::Insert, UpdatePhase::Change];
    let [insert, change] = phases.map(|phase| expression(&update, phase));
    if insert.is_some() != change.is_some() {
        return Err("it is refused for an insert or for a change, but not for both".to_owned());
    }
    for (sql, parameters) in [insert, change].into_iter().flatten() {
        check_expression(&sql, parameters)?;
    }
    Ok(())
}

#[test]
fn an_update_is_refused_or_becomes_one_expression() {
    Fuzz::parser("update").run(check);
}

//! Foreign lines of an event log.

use super::line::Line;
use crate::fuzz::{Fuzz, Outcome};

fn check(input: &[u8]) -> Outcome {
    let Ok(line) = Line::parse(input) else {
        return Ok(());
    };
    let written = serde_json::to_vec(&line).map_err(|error| error.to_string())?;
    let again = Line::parse(&written)?;
    if format!("{line:?}") == format!("{again:?}") {
        Ok(())
    } else {
        Err(format!(
            "it is exported as {again:?}, was imported as {line:?}"
        ))
    }
}

#[test]
fn a_line_is_refused_or_exported_as_it_was_imported() {
    Fuzz::parser("event_log").run(check);
}

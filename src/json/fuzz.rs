//! Foreign JSON.

use super::{JsonError, check_json_text, from_stored, to_json};
use crate::fuzz::{Fuzz, Outcome};
use crate::testing::Server;
use serde_json::Value;

/// `serde_json` has names of its own, which it does not treat as names.
fn is_private(input: &[u8]) -> bool {
    memchr::memmem::find(input, b"$serde_json").is_some()
}

fn agrees_with_serde_json(input: &[u8]) -> Outcome {
    let checked = check_json_text(input);
    let read = from_stored::<Value>(input);
    let theirs = serde_json::from_slice::<Value>(input);
    if is_private(input) {
        return Ok(());
    }
    if let Ok(value) = &read
        && !theirs.as_ref().is_ok_and(|theirs| theirs == value)
    {
        return Err(format!(
            "it is read as {value}, by serde_json as {theirs:?}"
        ));
    }
    let Ok(value) = theirs else {
        return Ok(());
    };
    match to_json(&value) {
        Err(_) if checked.is_ok() => Err("it is accepted as text, but not as a value".to_owned()),
        Err(_) => Ok(()),
        Ok(json) if from_stored::<Value>(&json).is_ok_and(|again| again == value) => Ok(()),
        Ok(json) => Err(format!("it is written as {}", json.escape_ascii())),
    }
}

#[test]
fn json_is_refused_or_read_as_serde_json_reads_it() {
    Fuzz::parser("json_text").run(agrees_with_serde_json);
}

#[test]
fn json_that_is_accepted_can_be_stored_and_read_back() -> Result<(), Box<dyn std::error::Error>> {
    let database = Server::shared()?.create_database()?;
    let mut client = database.client()?;
    let store = client.prepare("SELECT convert_from($1, 'UTF8')::JSONB::TEXT")?;
    Fuzz::parser("json_text").inputs(4_000).run(move |input| {
        if check_json_text(input).is_err() || is_private(input) {
            return Ok(());
        }
        let stored = client.query_one(&store, &[&input]);
        let stored: String = stored.map_err(|error| format!("{error:?}"))?.get(0);
        match from_stored::<Value>(stored.as_bytes()) {
            Ok(_) | Err(JsonError::BeyondF64 { .. }) => Ok(()),
            Err(error) => Err(format!("{error}, stored as {stored}")),
        }
    });
    drop(database);
    Ok(())
}

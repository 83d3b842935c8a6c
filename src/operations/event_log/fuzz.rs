//! Foreign lines of an event log.

use super::line::{Entry, Line};
use crate::events::stream_states::StreamState;
use crate::fuzz::{Fuzz, Outcome};

/// The line that an export writes for what was imported; `None` for a stream's line that says nothing.
fn exported(entry: &Entry) -> Result<Option<Vec<u8>>, String> {
    let line = match entry {
        Entry::Message(message) => Line::of_message(&message.message, false),
        Entry::Stream(stream) => {
            let metadata = stream.metadata.as_deref().unwrap_or(b"{}");
            let is_archived = stream.archived == Some(true);
            if !is_archived && metadata == b"{}" {
                return Ok(None);
            }
            Line::of_stream(&StreamState {
                stream_name: &stream.stream_name,
                is_archived,
                metadata,
            })
        }
    };
    let line = line.map_err(|error| error.to_string())?;
    let text = serde_json::to_vec(&line).map_err(|error| error.to_string())?;
    Ok(Some(text))
}

fn check(input: &[u8]) -> Outcome {
    let Ok(entry) = Entry::parse(input, true) else {
        return Ok(());
    };
    let Some(first) = exported(&entry)? else {
        return Ok(());
    };
    let second = exported(&Entry::parse(&first, true)?)?;
    if second.as_ref() == Some(&first) {
        return Ok(());
    }
    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    Err(format!(
        "it is exported as {}, and after an import of that as {}",
        text(&first),
        second.as_deref().map_or_else(String::new, text)
    ))
}

#[test]
fn a_line_is_refused_or_exported_as_it_was_imported() {
    Fuzz::parser("event_log").run(check);
}

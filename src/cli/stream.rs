//! `emmett stream`.

use super::Output;
use super::arguments::StreamArguments;
use crate::events::{MessageKind, RawEvent, ReadOptions, Recorded};
use crate::store::EventStore;
use anyhow::bail;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) fn run(
    arguments: &StreamArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let existing =
        store.read_stream_with::<RawEvent>(&arguments.name, options(arguments).max_count(0))?;
    if !existing.exists {
        let archived = ReadOptions::new().include_archived().max_count(0);
        if store
            .read_stream_with::<RawEvent>(&arguments.name, archived)?
            .exists
        {
            bail!(
                "stream \"{}\" is archived: add --include-archived",
                arguments.name
            );
        }
        bail!("there is no stream \"{}\"", arguments.name);
    }
    output.text(&format!(
        "stream \"{}\" is at version {}",
        arguments.name, existing.current_version
    ))?;
    for recorded in store.read_stream_iter::<RawEvent>(&arguments.name, options(arguments)) {
        let recorded = recorded?;
        output.result(&line(&recorded), &object(&recorded))?;
    }
    Ok(())
}

fn options(arguments: &StreamArguments) -> ReadOptions {
    let mut options = ReadOptions::new();
    if let Some(from) = arguments.from {
        options = options.from(from);
    }
    if let Some(to) = arguments.to {
        options = options.to(to);
    }
    if let Some(count) = arguments.max_count {
        options = options.max_count(count);
    }
    if arguments.backwards {
        options = options.backwards();
    }
    if arguments.include_archived {
        options = options.include_archived();
    }
    if arguments.allow_gaps {
        options = options.allow_gaps();
    }
    options
}

fn time(recorded: &Recorded<RawEvent>) -> String {
    Timestamp::try_from(recorded.recorded_at)
        .map_or_else(|_| "-".to_owned(), |time| time.to_string())
}

fn line(recorded: &Recorded<RawEvent>) -> String {
    let Recorded {
        stream_position,
        message_type,
        event,
        ..
    } = recorded;
    format!(
        "{stream_position:>6}  {}  {message_type}  {}",
        time(recorded),
        event.data
    )
}

/// Returns a message as a JSON object.
pub(super) fn object(recorded: &Recorded<RawEvent>) -> Value {
    json!({
        "streamName": &*recorded.stream_name,
        "streamPosition": recorded.stream_position,
        "globalPosition": recorded.global_position,
        "messageId": recorded.message_id,
        "type": recorded.message_type,
        "kind": if recorded.kind == MessageKind::Command { "command" } else { "event" },
        "schemaVersion": recorded.schema_version,
        "recordedAt": time(recorded),
        "correlationId": recorded.correlation_id,
        "causationId": recorded.causation_id,
        "data": recorded.event.data,
        "metadata": recorded.metadata,
    })
}

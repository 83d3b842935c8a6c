//! The streams of outboxes.

use crate::error::{Error, Result};

const OUTBOXES: &str = "emt:outbox:";

/// Returns the category of an outbox's streams.
pub(crate) fn outbox_category(topic: &str) -> String {
    format!("{OUTBOXES}{topic}")
}

/// Returns the stream of an outbox's commands with a key.
pub(crate) fn outbox_stream(topic: &str, key: &str) -> Result<String> {
    if topic.is_empty() || topic.contains('-') {
        return Err(Error::invalid(
            format!("outbox topic \"{topic}\""),
            "must be text without \"-\": the key follows the first \"-\" of the stream's name",
        ));
    }
    if key.is_empty() {
        return Err(Error::invalid(
            format!("the key for outbox \"{topic}\""),
            "is empty: name the recipient or the order in which commands are delivered",
        ));
    }
    Ok(format!("{}-{key}", outbox_category(topic)))
}

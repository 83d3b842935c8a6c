//! The streams of outboxes.

use crate::error::{Error, Result};

const OUTBOXES: &str = "emt:outbox:";

/// Returns the category of an outbox's streams.
pub(crate) fn outbox_category(topic: &str) -> String {
    format!("{OUTBOXES}{topic}")
}

/// Returns the stream of an outbox's commands with a key, `emt:outbox:{topic}-{key}`: for a workflow that
/// [sends](crate::workflow::Does::Send), or a specification.
///
/// ```
/// use emmett_postgresql::events::{outbox_key, outbox_stream};
/// let stream = outbox_stream("mail", "anna")?;
/// assert_eq!(outbox_key("mail", &stream), Some("anna"));
/// # Ok::<(), emmett_postgresql::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidInput`] if the topic is empty or has a `-`, or the key is empty.
pub fn outbox_stream(topic: &str, key: &str) -> Result<String> {
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

/// Returns the key of the outbox stream with this topic; `None` for another stream.
pub fn outbox_key<'s>(topic: &str, stream: &'s str) -> Option<&'s str> {
    let (of, key) = stream.strip_prefix(OUTBOXES)?.split_once('-')?;
    (of == topic && !topic.is_empty() && !key.is_empty()).then_some(key)
}

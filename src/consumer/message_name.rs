//! The name of a message, as errors and specifications say it.

use crate::events::RecordedMessage;
use std::fmt;
use std::sync::Arc;

/// A message by its stream and its version there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MessageName {
    pub(crate) stream: Arc<str>,
    pub(crate) version: u64,
}

impl MessageName {
    pub(super) fn of(message: &RecordedMessage) -> Self {
        Self {
            stream: message.stream_name().into(),
            version: message.stream_position(),
        }
    }
}

impl fmt::Display for MessageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, version } = self;
        write!(formatter, "message {version} of stream \"{stream}\"")
    }
}

//! The pauses between the retries of a message.

use super::message_name::MessageName;
use super::stop::StopHandle;
use crate::events::RecordedMessage;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// A pause before a retry of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetryPause {
    pub(crate) message: MessageName,
    pub(crate) pause: Duration,
}

/// How a worker spends the pauses between retries.
#[derive(Debug, Clone, Default)]
pub(super) enum RetryPauses {
    /// It waits. A stop of the consumer ends the wait.
    #[default]
    Waited,
    /// It notes the pause and goes on at once, in a specification.
    Noted(Arc<Mutex<Vec<RetryPause>>>),
}

impl RetryPauses {
    pub(super) fn pause(&self, stop: &StopHandle, message: &RecordedMessage, pause: Duration) {
        match self {
            Self::Waited => stop.pause(pause),
            Self::Noted(pauses) => pauses.lock().push(RetryPause {
                message: MessageName::of(message),
                pause,
            }),
        }
    }
}

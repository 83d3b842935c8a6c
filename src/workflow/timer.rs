//! Timers as their operators see them.

use std::time::{Duration, SystemTime};

/// Default maximum number of listed instances or timers.
pub(super) const LIMIT: u64 = 100;

/// A timer of a workflow that has not fired.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timer {
    /// Name of the workflow.
    pub workflow: String,
    /// Id of the instance.
    pub id: String,
    /// Name of the timer.
    pub name: String,
    /// Type of the input that follows.
    pub input_type: String,
    /// Time at which it is due, by the server's clock.
    pub due_at: SystemTime,
    /// Time until it is due, by the server's clock; zero if it is due.
    pub due_in: Duration,
    /// Time at which it was set, by the server's clock.
    pub set_at: SystemTime,
}

/// Selection of timers for [`EventStore::timers`](crate::EventStore::timers).
#[derive(Debug, Clone)]
#[must_use]
pub struct TimerOptions {
    pub(super) workflow: Option<String>,
    pub(super) id: Option<String>,
    pub(super) limit: u64,
}

impl Default for TimerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl TimerOptions {
    /// The next 100 timers of all workflows.
    pub fn new() -> Self {
        Self {
            workflow: None,
            id: None,
            limit: LIMIT,
        }
    }

    /// Name of the workflow. Defaults to all workflows.
    pub fn workflow(mut self, name: impl Into<String>) -> Self {
        self.workflow = Some(name.into());
        self
    }

    /// Id of the instance. Defaults to all instances.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Maximum number of timers. Defaults to 100.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }
}

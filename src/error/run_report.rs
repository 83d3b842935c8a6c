//! Report of a job, also in the error of a failed one.

use std::time::Duration;

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunEnd {
    /// All messages that were in the store when the run began were handled.
    CaughtUp,
    /// All messages up to the position were handled.
    PositionReached,
    /// The time limit was reached.
    TimeUp,
    /// A [`StopHandle`](crate::consumer::StopHandle) stopped the run.
    Stopped,
    /// Messages met the stop conditions of all processors.
    ConditionMet,
    /// The run failed. Only in the report of [`ProcessorError::JobFailed`](crate::error::ProcessorError::JobFailed).
    Failed,
}

/// Report of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "it says why the run ended"]
pub struct RunReport {
    /// Why the run ended.
    pub end: RunEnd,
    /// Report of each processor.
    pub processors: Vec<ProcessorRun>,
    /// Duration of the run.
    pub duration: Duration,
}

impl RunReport {
    /// Returns the number of messages that all processors handled together.
    pub fn handled(&self) -> u64 {
        self.processors
            .iter()
            .map(|processor| processor.handled)
            .sum()
    }
}

/// Report of a processor in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessorRun {
    /// Name of the processor.
    pub name: String,
    /// Number of messages that it handled and committed in this run.
    pub handled: u64,
    /// Checkpoint at the end. After a database failure, the last known one.
    pub position: u64,
}

impl ProcessorRun {
    pub(crate) fn new(name: impl Into<String>, handled: u64, position: u64) -> Self {
        Self {
            name: name.into(),
            handled,
            position,
        }
    }
}

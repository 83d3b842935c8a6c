//! What a job has done; the error of a failed one holds it.

use std::time::Duration;

/// Why a run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunEnd {
    /// Everything was handled that was in the store when the run began.
    CaughtUp,
    /// Everything up to the position was handled.
    PositionReached,
    /// The time is up.
    TimeUp,
    /// A [`StopHandle`](crate::consumer::StopHandle) was used.
    Stopped,
    /// Messages met the conditions of all processors to stop after.
    ConditionMet,
    /// It failed: only in the report of [`ProcessorError::JobFailed`](crate::error::ProcessorError::JobFailed).
    Failed,
}

/// What a run has done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "it says whether the run was stopped before its end"]
pub struct RunReport {
    /// Why it ended.
    pub end: RunEnd,
    /// What each processor has done.
    pub processors: Vec<ProcessorRun>,
    /// How long it took.
    pub duration: Duration,
}

impl RunReport {
    /// How many messages were handled by all processors together.
    pub fn handled(&self) -> u64 {
        self.processors
            .iter()
            .map(|processor| processor.handled)
            .sum()
    }
}

/// What a processor has done in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessorRun {
    /// Its name.
    pub name: String,
    /// How many messages it has handled in this run: those that were committed.
    pub handled: u64,
    /// Its checkpoint at the end. After a failure of the database, the last one that was seen.
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

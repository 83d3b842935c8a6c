//! A worker without a thread of its own. It gets a turn when there may be work.

use super::{BatchError, Ended, Worker};
use std::time::{Duration, Instant};

/// Outcome of a turn.
pub(in crate::consumer) enum Turn {
    /// The worker made progress, and there may be more work.
    Progress,
    /// There is no work now, but there may be after this time, if given.
    Rest(Option<Duration>),
    Ended(Ended),
}

impl Worker {
    /// Does one thing, and waits for the database only.
    pub(in crate::consumer) fn turn(&mut self) -> Turn {
        if let Some(pause) = self.pause_left() {
            return Turn::Rest(Some(pause));
        }
        match self.caught(Self::step) {
            Ok(Ok(turn)) => turn,
            Ok(Err(error)) => self.outlast(error).map_or_else(Turn::Ended, |pause| {
                self.waits_until = Some(Instant::now() + pause);
                Turn::Rest(Some(pause))
            }),
            Err(ended) => Turn::Ended(ended),
        }
    }

    /// Returns the rest of the pause after a database error. A stopped worker does not wait.
    fn pause_left(&self) -> Option<Duration> {
        let left = self.waits_until?.saturating_duration_since(Instant::now());
        (!left.is_zero() && !self.shared.stop.is_stopped()).then_some(left)
    }

    fn step(&mut self) -> Result<Turn, BatchError> {
        if let Some(ended) = self.attend()? {
            return Ok(Turn::Ended(ended));
        }
        if let Ok(batch) = self.mailbox.inbox.1.try_recv() {
            let ended = self.take(&batch)?;
            return Ok(ended.map_or(Turn::Progress, Turn::Ended));
        }
        if self.is_checkpoint_written() {
            return Ok(Turn::Rest(None));
        }
        let due = self.checkpoint_due();
        if !due.is_zero() {
            return Ok(Turn::Rest(Some(due)));
        }
        self.write_checkpoint()?;
        Ok(Turn::Progress)
    }
}

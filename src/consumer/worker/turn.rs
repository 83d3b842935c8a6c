//! A worker without a thread of its own: it is given a turn when there may be something to do.

use super::{BatchError, Ended, Worker};
use std::time::{Duration, Instant};

/// What a worker has made of its turn.
pub(in crate::consumer) enum Turn {
    /// Something was done; there may be more.
    Progress,
    /// There is nothing to do, but after this time, if any.
    Rest(Option<Duration>),
    Ended(Ended),
}

impl Worker {
    /// Does one thing, and waits for nothing but the database.
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

    /// How long the database is left alone still. A worker that is stopped does not wait.
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

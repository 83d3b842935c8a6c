//! Catching up with the feed in batches.

use super::job::Job;
use super::progress::Progress;
use super::workers;
use crate::error::Result;
use crate::events::{RecordedMessage, feed};

/// Number of rounds in which appends may outpace the rebuild before catching up stops.
const LOST_ROUNDS: usize = 3;

impl Job<'_> {
    /// Handles the feed repeatedly until at most one batch is left for the switch.
    pub(super) fn catch_up(&self, progress: &mut Progress<'_>) -> Result<()> {
        let (mut before, mut lost) = (u64::MAX, 0);
        loop {
            let after = progress.position;
            let horizon = self
                .store
                .connections()
                .run(true, |sql| feed::horizon(sql, self.partition(), after))?;
            progress.head = horizon.head;
            let distance = horizon.position.saturating_sub(after);
            if distance > 0 {
                self.handle_up_to(horizon.position, progress)?;
            }
            lost += usize::from(distance >= before);
            if distance <= self.limits.messages as u64 || lost == LOST_ROUNDS {
                return Ok(());
            }
            before = distance;
        }
    }

    fn handle_up_to(&self, up_to: u64, progress: &mut Progress<'_>) -> Result<()> {
        let distance = up_to.saturating_sub(progress.position);
        if self.workers > 1 && distance > self.limits.messages as u64 {
            return workers::handle_up_to(self, up_to, progress);
        }
        while progress.position < up_to {
            let page = self.read_page(progress.position, up_to)?;
            let messages: Vec<&RecordedMessage> = page.messages.iter().collect();
            self.handle_batch(&messages, None)?;
            self.advance(progress, &page)?;
        }
        Ok(())
    }
}

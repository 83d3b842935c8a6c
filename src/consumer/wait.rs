//! Read your own writes: waiting for a processor.

use crate::database::{BackOff, Sql, pause};
use crate::error::{Error, ProcessorError, Result};
use crate::events::FeedFilter;
use crate::events::feed::{self, Part};
use crate::projection::registry;
use crate::slots::progress;
use crate::store::EventStore;
use std::time::{Duration, Instant};

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

impl EventStore {
    /// Waits until a processor or an inline projection has handled everything up to a global position.
    ///
    /// With the last position of an append, the read model contains the appended events afterwards. The processor may
    /// run in any process. An active inline projection returns at once. For a position of another tenant, all earlier
    /// events of this tenant count.
    ///
    /// ```no_run
    /// # use emmett_postgresql::{EventStore, RawEvent};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = EventStore::builder("postgresql://localhost/shop").open()?;
    /// # let confirmed = RawEvent::new("Confirmed", serde_json::json!({}));
    /// let appended = store.append_to_stream("ShoppingCart-123", &[confirmed])?;
    /// store.wait_for("cart-analytics", appended.last_global_position, Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ProcessorError::WaitTimeout`] after the timeout.
    /// - [`ProcessorError::MessageParked`] when the message at the position is parked.
    /// - [`ProcessorError::Failed`] when the processor has stopped before the position.
    /// - [`ProcessorError::Ahead`] when the processor is ahead of the sequence, so that its position is meaningless.
    /// - [`ProcessorError::OldEpoch`] when the store was restored since.
    pub fn wait_for(&self, processor: &str, position: u64, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        let mut pauses = BackOff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        loop {
            let reached = self.look_at(processor, position)?;
            if reached.is_some_and(|reached| reached >= position) {
                return Ok(());
            }
            let next_pause = pauses.next();
            if let Some(reached) = reached
                && next_pause >= LONGEST_PAUSE
                && self.has_none_between(reached, position)?
            {
                return Ok(());
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(Error::Processor(ProcessorError::WaitTimeout {
                    processor: processor.to_owned(),
                    position,
                    reached,
                }));
            }
            pause(next_pause.min(left));
        }
    }

    /// Returns whether this tenant has no message between two positions, now and in future. A consumer of all tenants
    /// does not move the checkpoint of an idle tenant.
    fn has_none_between(&self, after: u64, up_to: u64) -> Result<bool> {
        let partition = self.partition();
        let part = Part {
            after,
            up_to,
            filter: &FeedFilter::ALL,
        };
        self.connections().run(true, |sql| {
            let is_readable = feed::horizon(sql, partition, after)?.position >= up_to;
            Ok(is_readable && feed::names(sql, partition, part, Some(1))?.is_empty())
        })
    }

    fn look_at(&self, processor: &str, position: u64) -> Result<Option<u64>> {
        let partition = self.partition();
        let look = |sql: &mut dyn Sql| progress::of_newest(sql, partition, processor, position);
        let Some(progress) = self.connections().run(true, look)? else {
            return self.connections().run(true, |sql| {
                registry::reached(sql, partition, processor, position)
            });
        };
        progress.reach.check(processor)?;
        if let Some(error) = progress.parked {
            return Err(Error::Processor(ProcessorError::MessageParked {
                processor: processor.to_owned(),
                position,
                error: Some(error).filter(|error| !error.is_empty()),
            }));
        }
        match progress.failure {
            Some(error) if progress.position < position => {
                Err(Error::processor(processor, anyhow::Error::msg(error)))
            }
            _ => Ok(Some(progress.position)),
        }
    }
}

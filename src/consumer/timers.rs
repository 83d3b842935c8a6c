//! Fires the timers of a consumer's workflows.

use super::batch_transaction::BatchTransaction;
use super::mailbox::Mailbox;
use super::processor::Processor;
use super::shared::Shared;
use crate::error::Result;
use crate::store::EventStore;
use crate::workflow::{WorkflowHandler, fire, timers};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Minimum time between two looks for new timers.
const LOOK_AFTER: Duration = Duration::from_millis(50);

/// Knows when the next timer of each workflow is due.
///
/// The server says how long that is. A step that sets a timer also appends a record, so a timer can be new only if the feed
/// has grown since the last look. An idle timer costs no statement until it is due.
pub(super) struct Timers {
    clocks: Vec<Clock>,
}

/// The next timer of a workflow, as of the last look.
struct Clock {
    processor: Arc<Processor>,
    due: Option<Instant>,
    /// Time of the last look, and the end of the feed before it.
    looked: Option<(Instant, u64)>,
}

impl Timers {
    pub(super) fn new(shared: &Shared) -> Self {
        // A bounded run handles what is in the feed. Its timers fire before it starts.
        let mailboxes = shared.mailboxes.iter();
        let of_workflows = mailboxes.filter(|mailbox| {
            let is_first = mailbox.worker == 0;
            is_first && shared.settings.until.is_none() && mailbox.processor.workflow().is_some()
        });
        Self {
            clocks: of_workflows.map(|mailbox| Clock::new(mailbox)).collect(),
        }
    }

    /// Fires the timers that are due. Returns how many have fired. `feed_end` is the end of the readable feed.
    pub(super) fn fire(&mut self, shared: &Shared, feed_end: u64) -> Result<usize> {
        let mut fired = 0;
        for clock in &mut self.clocks {
            if clock.is_running(shared) && clock.has_news(feed_end) {
                fired += clock.fire(shared, feed_end)?;
            }
        }
        Ok(fired)
    }

    /// Returns the time until the next look.
    pub(super) fn rest(&self, shared: &Shared, feed_end: u64) -> Option<Duration> {
        let running = self.clocks.iter().filter(|clock| clock.is_running(shared));
        running.filter_map(|clock| clock.rest(feed_end)).min()
    }
}

impl Clock {
    fn new(mailbox: &Mailbox) -> Self {
        Self {
            processor: Arc::clone(&mailbox.processor),
            due: None,
            looked: None,
        }
    }

    /// Whether a worker of this consumer holds a slot of the processor.
    fn is_running(&self, shared: &Shared) -> bool {
        let mut mailboxes = shared.mailboxes.iter();
        mailboxes.any(|mailbox| {
            Arc::ptr_eq(&mailbox.processor, &self.processor)
                && mailbox.is_alive()
                && mailbox.demand().after.is_some()
        })
    }

    fn has_news(&self, feed_end: u64) -> bool {
        self.rest(feed_end).is_some_and(|rest| rest.is_zero())
    }

    fn rest(&self, feed_end: u64) -> Option<Duration> {
        let Some((at, end)) = self.looked else {
            return Some(Duration::ZERO);
        };
        let due = self
            .due
            .map(|due| due.saturating_duration_since(Instant::now()));
        let look = (end != feed_end).then(|| LOOK_AFTER.saturating_sub(at.elapsed()));
        due.into_iter().chain(look).min()
    }

    fn fire(&mut self, shared: &Shared, feed_end: u64) -> Result<usize> {
        let Some(workflow) = self.processor.workflow() else {
            return Ok(0);
        };
        let is_due = self.due.is_some_and(|due| due <= Instant::now());
        let (store, lease) = (&shared.store, shared.settings.lease);
        let mut fired = 0;
        if is_due {
            fired = fire_some(store, &**workflow, lease)?;
        }
        let looked_at = Instant::now();
        let (partition, name) = (store.partition(), workflow.names().workflow);
        let next = shared.run(|sql| timers::next(sql, partition, name))?;
        self.due = next.and_then(|next| looked_at.checked_add(next));
        self.looked = Some((looked_at, feed_end));
        Ok(fired)
    }
}

/// Fires all timers of a workflow that are due now.
pub(super) fn fire_all(
    store: &EventStore,
    workflow: &dyn WorkflowHandler,
    lease: Duration,
) -> Result<()> {
    while fire_some(store, workflow, lease)? > 0 {}
    Ok(())
}

/// Fires timers in one transaction.
fn fire_some(store: &EventStore, workflow: &dyn WorkflowHandler, lease: Duration) -> Result<usize> {
    let mut transaction = BatchTransaction::new(store, lease);
    let fired = transaction.run(|session| fire(workflow.names(), session))?;
    let appended = transaction.appended();
    if transaction.commit(|_| Ok(fired > 0))? {
        store.appended(appended);
    }
    Ok(fired)
}

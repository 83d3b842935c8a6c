//! Fires the timers of a consumer's workflows.

use super::batch_transaction::BatchTransaction;
use super::mailbox::Mailbox;
use super::processor::Processor;
use super::shared::Shared;
use crate::database::position::to_sql;
use crate::error::{Error, Result};
use crate::store::EventStore;
use crate::workflow::{WorkflowHandler, append_inputs, take_due, timers};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of timers that one transaction fires.
const MOST_FIRED: usize = 500;

/// Time after which a timer is tried again whose input could not be appended.
const POSTPONED_BY: Duration = Duration::from_secs(60);

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
            fired = fire_some(store, &self.processor, &**workflow, lease)?;
        }
        let looked_at = Instant::now();
        let (partition, name) = (store.partition(), workflow.names().workflow);
        let next = shared.run(|sql| timers::next(sql, partition, name))?;
        // A due timer that could not be taken is locked by another transaction.
        let is_locked = is_due && fired == 0;
        let next = next.map(|next| {
            if is_locked {
                next.max(LOOK_AFTER)
            } else {
                next
            }
        });
        self.due = next.and_then(|next| looked_at.checked_add(next));
        self.looked = Some((looked_at, feed_end));
        Ok(fired)
    }
}

/// Fires all timers of a workflow that are due now.
pub(super) fn fire_all(store: &EventStore, processor: &Processor, lease: Duration) -> Result<()> {
    let Some(workflow) = processor.workflow() else {
        return Ok(());
    };
    while fire_some(store, processor, &**workflow, lease)? > 0 {}
    Ok(())
}

/// Fires timers in one transaction. If an input cannot be appended, fires one by one, and postpones those that fail. Returns
/// the number of timers that are no longer due.
fn fire_some(
    store: &EventStore,
    processor: &Processor,
    workflow: &dyn WorkflowHandler,
    lease: Duration,
) -> Result<usize> {
    match fire_up_to(store, workflow, lease, MOST_FIRED, &mut None) {
        Err(error) if is_of_timer(&error) => {}
        fired => return fired,
    }
    let mut done = 0;
    while done < MOST_FIRED {
        let mut timer = None;
        match (fire_up_to(store, workflow, lease, 1, &mut timer), timer) {
            (Ok(0), _) => break,
            (Ok(_), _) => {}
            (Err(error), Some((id, name))) if is_of_timer(&error) => {
                processor.report(&error);
                let (partition, of) = (store.partition(), workflow.names().workflow);
                store.connections().run(true, |sql| {
                    timers::postpone(sql, partition, of, &id, &name, POSTPONED_BY)
                })?;
            }
            (Err(error), _) => return Err(error),
        }
        done += 1;
    }
    Ok(done)
}

/// Whether an error is about the input of a timer, and not about the database.
fn is_of_timer(error: &Error) -> bool {
    !matches!(error, Error::Database(_) | Error::UnknownTenant { .. })
        && !error.is_retryable()
        && !error.is_outcome_unknown()
}

/// Fires timers, and notes the first one.
fn fire_up_to(
    store: &EventStore,
    workflow: &dyn WorkflowHandler,
    lease: Duration,
    limit: usize,
    first: &mut Option<(String, String)>,
) -> Result<usize> {
    let mut transaction = BatchTransaction::new(store, lease);
    let fired = transaction.run(|session| {
        let due = take_due(workflow.names(), session, to_sql(limit))?;
        *first = due
            .first()
            .map(|timer| (timer.id.clone(), timer.name.clone()));
        let count = due.len();
        if count > 0 {
            append_inputs(workflow.names(), session, due)?;
        }
        Ok(count)
    })?;
    let after_commit = transaction.take_after_commit();
    if transaction.commit(|_| Ok(fired > 0))? {
        store.committed(after_commit);
    }
    Ok(fired)
}

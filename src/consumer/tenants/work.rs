//! A thread's work for a tenant: it registers processors, reads the feed, and gives turns to workers.

use super::failures::Failures;
use crate::consumer::feed_reader::{FeedReader, Round};
use crate::consumer::plan::{Found, Plan};
use crate::consumer::shared::Shared;
use crate::consumer::worker::{Ended, Turn, Worker};
use crate::database::BackOff;
use crate::error::{Error, ProcessorError, Result, caught};
use crate::events::feed_news::TenantKey;
use crate::store::EventStore;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of rounds before the next tenant has its turn.
const MOST_ROUNDS: usize = 8;

/// Shortest pause between attempts to register the processors.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Outcome of a turn.
pub(super) enum Progress {
    /// The tenant may have more work at once.
    More,
    Rest(Rest),
    /// All workers of the tenant have ended.
    Ended,
}

/// The condition for the next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Rest {
    /// A message after this position; `None` if no messages are wanted.
    pub(super) after: Option<u64>,
    /// This time.
    pub(super) until: Option<Instant>,
}

pub(super) struct TenantWork {
    plan: Arc<Plan>,
    store: EventStore,
    found: Found,
    failures: Arc<Failures>,
    prepared: Option<Prepared>,
    attempts: BackOff,
    /// Time of the next attempt to register the processors, or to read.
    waits_until: Option<Instant>,
}

struct Prepared {
    shared: Arc<Shared>,
    reader: FeedReader,
    workers: Vec<Worker>,
    has_begun: bool,
}

impl TenantWork {
    pub(super) fn new(
        plan: &Arc<Plan>,
        store: EventStore,
        found: Found,
        failures: &Arc<Failures>,
    ) -> Self {
        Self {
            plan: Arc::clone(plan),
            store,
            found,
            failures: Arc::clone(failures),
            prepared: None,
            attempts: BackOff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
            waits_until: None,
        }
    }

    pub(super) fn shared(&self) -> Option<&Arc<Shared>> {
        self.prepared.as_ref().map(|prepared| &prepared.shared)
    }

    /// Registers the processors.
    pub(super) fn prepare(&mut self) -> Result<()> {
        let (shared, slots) = self.plan.prepare_in(self.store.clone(), self.found)?;
        let worker = |(mailbox, slots): (&Arc<_>, &u32)| {
            Worker::new(Arc::clone(&shared), Arc::clone(mailbox), *slots)
        };
        self.prepared = Some(Prepared {
            workers: shared.mailboxes.iter().zip(&slots).map(worker).collect(),
            reader: FeedReader::new(Arc::clone(&shared)),
            shared,
            has_begun: false,
        });
        Ok(())
    }

    /// Works for the tenant, for a limited number of rounds.
    pub(super) fn turn(&mut self, tenant: &TenantKey) -> Progress {
        if let Some(until) = self.waits_until
            && Instant::now() < until
            && !self.plan.stop.is_stopped()
        {
            return self.rest(Some(until));
        }
        self.waits_until = None;
        if self.prepared.is_none() {
            return self.register(tenant);
        }
        for _ in 0..MOST_ROUNDS {
            let (has_moved, due) = self.turn_workers(tenant);
            let Some(prepared) = &mut self.prepared else {
                return Progress::Ended;
            };
            if prepared.workers.is_empty() {
                return Progress::Ended;
            }
            match prepared.reader.round() {
                Round::Busy | Round::Failed => {}
                Round::Waiting(pause) => {
                    self.waits_until = Some(Instant::now() + pause);
                    return self.rest(self.waits_until);
                }
                Round::Idle | Round::Held | Round::Unwanted if has_moved => {}
                Round::Idle | Round::Held | Round::Unwanted => {
                    let timers = prepared.reader.until_timers();
                    let timers = timers.map(|timers| Instant::now() + timers);
                    return self.rest(due.into_iter().chain(timers).min());
                }
            }
        }
        Progress::More
    }

    /// Ends the workers without using the database.
    pub(super) fn abandon(&mut self) {
        if let Some(prepared) = &mut self.prepared {
            prepared.workers.drain(..).for_each(Worker::abandon);
        }
    }

    /// Registers the processors of a tenant that was added while the consumer runs. It is retried, because operators
    /// may repair the cause.
    fn register(&mut self, tenant: &TenantKey) -> Progress {
        if self.plan.stop.is_stopped() {
            return Progress::Ended;
        }
        let prepared = caught("the registration of a processor", || self.prepare());
        let error = match prepared {
            Ok(Ok(())) => {
                self.failures.forget(tenant);
                return Progress::More;
            }
            Ok(Err(Error::UnknownTenant { .. })) => return Progress::Ended,
            Ok(Err(error)) => error,
            Err(panic) => Error::processor("of all tenants", panic),
        };
        self.plan
            .processors
            .iter()
            .for_each(|processor| processor.report(&error));
        if !error.is_retryable() {
            self.failures.add(tenant, error);
        }
        self.waits_until = Some(Instant::now() + self.attempts.next());
        self.rest(self.waits_until)
    }

    /// Gives each worker a turn. Returns whether any worker made progress, and when the next one is due.
    fn turn_workers(&mut self, tenant: &TenantKey) -> (bool, Option<Instant>) {
        let (mut has_moved, mut due) = (false, None);
        let Some(prepared) = &mut self.prepared else {
            return (false, None);
        };
        let has_begun = std::mem::replace(&mut prepared.has_begun, true);
        for mut worker in std::mem::take(&mut prepared.workers) {
            let begun = if has_begun { Ok(()) } else { worker.begin() };
            match begun.map_or_else(Turn::Ended, |()| worker.turn()) {
                Turn::Ended(ended) => {
                    has_moved = true;
                    note_end(worker.end(ended), tenant, &self.failures);
                    continue;
                }
                Turn::Progress => has_moved = true,
                Turn::Rest(pause) => {
                    let until = pause.map(|pause| Instant::now() + pause);
                    due = due.into_iter().chain(until).min();
                }
            }
            prepared.workers.push(worker);
        }
        (has_moved, due)
    }

    fn rest(&self, until: Option<Instant>) -> Progress {
        let mailboxes = self.shared().map(|shared| &shared.mailboxes);
        let wanted = mailboxes.into_iter().flatten();
        // A reader that waits for the database must not be woken by the next poll.
        let after = wanted.filter_map(|mailbox| mailbox.demand().after).min();
        Progress::Rest(Rest {
            after: after.filter(|_| self.waits_until.is_none()),
            until,
        })
    }
}

fn note_end(ended: Ended, tenant: &TenantKey, failures: &Failures) {
    match ended {
        Ended::Failed(error) if !is_removal(&error, tenant) => failures.add(tenant, error),
        Ended::Failed(_) | Ended::Stopped | Ended::Condition => {}
    }
}

/// Returns whether a processor has failed because its tenant is being removed.
fn is_removal(error: &Error, tenant: &TenantKey) -> bool {
    let Error::Processor(ProcessorError::Failed { cause, .. }) = error else {
        return false;
    };
    cause.chain().any(|cause| {
        let error = cause
            .downcast_ref::<Error>()
            .or_else(|| cause.downcast_ref::<Arc<Error>>().map(Arc::as_ref));
        matches!(error, Some(Error::UnknownTenant { tenant: unknown }) if *unknown == tenant.name)
    })
}

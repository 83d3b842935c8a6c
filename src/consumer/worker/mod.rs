//! The worker, which handles messages: one batch, one transaction, one checkpoint.

mod batch;
mod call;
mod missed;
mod one_by_one;
mod requests;
mod turn;

use super::mailbox::{Batch, Mailbox};
use super::message_name::MessageName;
use super::processor::Processor;
use super::shared::Shared;
use crate::database::{BackOff, pause};
use crate::error::{Error, ProcessorError, Result, caught};
use crate::slots::{Coverage, HeldSlot, Missed, parking};
use crossbeam_channel::{RecvTimeoutError, select};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
pub(super) use turn::Turn;

/// Time after which a checkpoint is written without a batch.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// Longest pause between attempts to note a failure.
const LONGEST_NOTE_PAUSE: Duration = Duration::from_millis(500);

/// The reason why a worker has ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The consumer was stopped.
    Stopped,
    /// A message met the `stop_after` condition.
    Condition,
    /// The processor failed.
    Failed(Error),
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    /// Number of slots of the processor.
    all_slots: u32,
    held: Vec<HeldSlot>,
    /// Every message up to this position is handled, but the checkpoint may not be stored yet.
    reached: u64,
    checkpoint_written_at: Instant,
    /// Streams with parked messages.
    parked: HashSet<(i32, String)>,
    /// An owner of these slots has crashed at this position: handle one message at a time.
    after_crash: bool,
    /// Set while passed-over events are replayed.
    replaying: Option<Replaying>,
    /// A batch whose commit was not acknowledged.
    unconfirmed: Option<Unconfirmed>,
    /// Whether the failure is already noted in the table.
    is_noted: bool,
    lost_database: BackOff,
    /// End of a pause after a database error, for a worker without a thread of its own.
    waits_until: Option<Instant>,
}

/// A batch whose commit was not acknowledged.
struct Unconfirmed {
    held: Vec<HeldSlot>,
    up_to: u64,
    handled: usize,
}

/// Slots of this worker that replay passed-over events, at or before their checkpoint.
struct Replaying {
    coverage: Coverage,
    missed: Missed,
}

/// The reason why messages could not be handled.
enum BatchError {
    /// The handler has failed.
    Handler(HandlerError),
    /// The slots were lost to another worker, or reset.
    Lost,
    /// A statement of the library has failed.
    Database(Error),
    /// The processor was stopped by another worker or by another version. The reason is noted.
    Stopped(String),
    /// The handler has failed because of a transient database error.
    Unwell(Box<Error>),
}

/// The error of a handler, and its messages.
struct HandlerError {
    cause: anyhow::Error,
    place: Place,
    /// Position of the message, if it was handled alone. This counts as an attempt.
    alone: Option<u64>,
}

/// Names the messages at which a handler failed, as the context of its error.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// Empty if there are no messages.
    text: String,
    /// The message, if it was handled alone.
    pub(super) message: Option<MessageName>,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl From<anyhow::Error> for HandlerError {
    fn from(cause: anyhow::Error) -> Self {
        Self {
            cause,
            place: Place::default(),
            alone: None,
        }
    }
}

impl From<Error> for BatchError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox>, all_slots: u32) -> Self {
        Self {
            shared,
            mailbox,
            all_slots,
            held: Vec::new(),
            reached: 0,
            checkpoint_written_at: Instant::now(),
            parked: HashSet::new(),
            after_crash: false,
            replaying: None,
            unconfirmed: None,
            is_noted: false,
            lost_database: BackOff::new(Duration::from_millis(20), Duration::from_secs(2)),
            waits_until: None,
        }
    }

    /// Runs to the end, on a thread of its own.
    pub(super) fn run(mut self) -> Ended {
        let ended = match self.begin().and_then(|()| self.caught(Self::work)) {
            Ok(ended) | Err(ended) => ended,
        };
        self.end(ended)
    }

    /// Calls the hook before the first batch.
    pub(super) fn begin(&mut self) -> Result<(), Ended> {
        self.caught(|worker| {
            if let Some(hook) = &worker.processor().options.on_start {
                hook(());
            }
        })
    }

    /// Ends the worker without using the database, because its tenant and slots are gone.
    pub(super) fn abandon(mut self) {
        self.forget();
        self.mailbox.held().clear();
        let _ = self.stopped();
    }

    /// Notes the reason after the last batch, and releases the leases.
    pub(super) fn end(&mut self, ended: Ended) -> Ended {
        if let Ended::Failed(error) = &ended {
            self.note_failure(error);
        }
        self.leave();
        match (ended, self.stopped()) {
            (Ended::Failed(error), _) | (_, Err(Ended::Failed(error))) => Ended::Failed(error),
            (ended, _) => ended,
        }
    }

    fn stopped(&mut self) -> Result<(), Ended> {
        self.mailbox.end();
        self.caught(|worker| {
            if let Some(hook) = &worker.processor().options.on_stop {
                hook(());
            }
        })
    }

    /// Turns a panic of user code outside the handler into a failure of the processor.
    fn caught<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> Result<T, Ended> {
        caught("a worker", || run(self)).map_err(|panic| Ended::Failed(self.failed(panic)))
    }

    fn processor(&self) -> &Processor {
        &self.mailbox.processor
    }

    fn work(&mut self) -> Ended {
        loop {
            match self.tick() {
                Ok(None) => {}
                Ok(Some(ended)) => return ended,
                Err(error) => match self.outlast(error) {
                    Ok(pause) => self.shared.stop.pause(pause),
                    Err(ended) => return ended,
                },
            }
        }
    }

    /// Handles an error. Returns the pause before the next attempt, or the end of the worker.
    fn outlast(&mut self, error: BatchError) -> Result<Duration, Ended> {
        match error {
            BatchError::Lost => {
                self.mailbox.leases_changed.store(true, Ordering::SeqCst);
                self.forget();
                Ok(Duration::ZERO)
            }
            BatchError::Unwell(error) => Ok(self.wait_for_database(&error, true)),
            BatchError::Database(error) if self.shared.outlasts(&error) => {
                Ok(self.wait_for_database(&error, !error.is_unavailable()))
            }
            BatchError::Database(error) => Err(Ended::Failed(self.failed(error.into()))),
            BatchError::Handler(error) => Err(Ended::Failed(self.failed(error.cause))),
            BatchError::Stopped(reason) => {
                self.is_noted = true;
                Err(Ended::Failed(self.failed(anyhow::Error::msg(reason))))
            }
        }
    }

    /// Shows the reason why the worker waits. Returns the pause.
    fn wait_for_database(&mut self, error: &Error, is_there: bool) -> Duration {
        // Only the table shows whether the commit has succeeded.
        self.mailbox.leases_changed.store(true, Ordering::SeqCst);
        self.forget();
        let pause = self.lost_database.next();
        self.shared
            .note_waiting(&self.mailbox, error, pause, is_there);
        pause
    }

    /// Does one thing: checks the leases, runs requests, handles a batch, or waits for one of these.
    fn tick(&mut self) -> Result<Option<Ended>, BatchError> {
        if let Some(ended) = self.attend()? {
            return Ok(Some(ended));
        }
        let batch = if self.is_checkpoint_written() {
            select! {
                recv(self.mailbox.inbox.1) -> batch => batch.ok(),
                recv(self.mailbox.bell.1) -> _ => None,
            }
        } else {
            self.wait_to_write_checkpoint()?
        };
        batch.map_or(Ok(None), |batch| self.take(&batch))
    }

    /// Handles stops, changed leases and requests before the next batch.
    fn attend(&mut self) -> Result<Option<Ended>, BatchError> {
        if self.shared.stop.is_stopped() {
            return Ok(Some(Ended::Stopped));
        }
        if let Some(error) = self.mailbox.fatal_error().take() {
            return Err(BatchError::Handler(anyhow::Error::new(error).into()));
        }
        if self.mailbox.leases_changed.swap(false, Ordering::SeqCst) {
            self.look_at_leases()?;
        }
        // Without slots, the request waits for them.
        if !self.held.is_empty() && self.mailbox.requested.swap(false, Ordering::SeqCst) {
            self.run_requests()?;
        }
        Ok(None)
    }

    /// Handles a batch, unless it answers an earlier demand.
    fn take(&mut self, batch: &Batch) -> Result<Option<Ended>, BatchError> {
        self.shared.ring_poller();
        if batch.generation != self.mailbox.demand().generation || self.held.is_empty() {
            return Ok(None);
        }
        let (head, up_to) = (batch.head, batch.up_to);
        if let Some(ended) = self.run_batch(batch)? {
            return Ok(Some(ended));
        }
        self.lost_database.reset();
        self.shared.note_resumed(&self.mailbox);
        let is_target = self
            .shared
            .settings
            .until
            .is_some_and(|until| up_to >= until);
        if is_target {
            self.write_checkpoint()?;
        }
        if up_to >= head
            && self.mailbox.inbox.1.is_empty()
            && let Some(hook) = &self.processor().options.on_caught_up
        {
            hook(up_to);
        }
        Ok(None)
    }

    fn is_checkpoint_written(&self) -> bool {
        self.held.is_empty() || self.reached == self.checkpoint()
    }

    /// Waits for a batch, at most until the checkpoint is due.
    fn wait_to_write_checkpoint(&mut self) -> Result<Option<Batch>, BatchError> {
        match self.mailbox.inbox.1.recv_timeout(self.checkpoint_due()) {
            Ok(batch) => Ok(Some(batch)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.write_checkpoint()?;
                Ok(None)
            }
        }
    }

    /// Returns the time until the checkpoint is due.
    fn checkpoint_due(&self) -> Duration {
        FLUSH_AFTER.saturating_sub(self.checkpoint_written_at.elapsed())
    }

    /// Returns the lowest checkpoint of the held slots.
    fn checkpoint(&self) -> u64 {
        self.held
            .iter()
            .map(|slot| slot.position)
            .min()
            .unwrap_or_default()
    }

    /// Discards the in-memory slots and batches, and asks for no messages until the leases are checked.
    fn forget(&mut self) {
        self.held.clear();
        let mut demand = self.mailbox.demand();
        demand.generation += 1;
        demand.after = None;
        drop(demand);
        while self.mailbox.inbox.1.try_recv().is_ok() {}
    }

    /// Releases and takes slots, then resumes at the lowest checkpoint of the held slots.
    fn look_at_leases(&mut self) -> Result<(), BatchError> {
        self.write_checkpoint()?;
        self.confirm()?;
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
        let (key, holder) = (shared.key(&mailbox.processor), shared.holder(&mailbox));
        let workers = shared.living_workers(&mailbox.processor);
        let held = shared.run(|sql| key.take(sql, holder, workers))?;
        // Another worker may have failed: the processor stops in all processes.
        if let Some(failure) = shared.run(|sql| key.failure(sql))? {
            return Err(BatchError::Stopped(failure));
        }
        if held == self.held {
            return Ok(());
        }
        let parked = shared.run(|sql| parking::streams(sql, key, &held))?;
        self.parked = parked.into_iter().collect();
        self.after_crash = held.iter().any(|slot| slot.crashes > 0);
        *self.mailbox.held() = held.iter().map(|slot| (slot.slot, slot.epoch)).collect();
        self.forget();
        self.held = held;
        self.reached = self.checkpoint();
        self.decide_about_new_types()?;
        self.checkpoint_written_at = Instant::now();
        if !self.held.is_empty() {
            let mut demand = self.mailbox.demand();
            demand.after = Some(self.reached);
            demand.greeted = false;
            drop(demand);
            self.shared.ring_poller();
        }
        Ok(())
    }

    fn failed(&self, source: anyhow::Error) -> Error {
        Error::processor(self.processor().name.clone(), source)
    }

    /// Stores the reason why the processor has stopped, and retries until it is stored: a failure that is not stored
    /// looks like a running processor. After a stop of the consumer, it retries only for the time of a lease.
    fn note_failure(&self, error: &Error) {
        self.mailbox.report(error);
        let Error::Processor(ProcessorError::Failed { cause, .. }) = error else {
            return;
        };
        if self.is_noted {
            return;
        }
        let (failed_at, text) = (Instant::now(), format!("{cause:#}"));
        let mut pauses = BackOff::new(Duration::from_millis(20), LONGEST_NOTE_PAUSE);
        while let Err(error) = self.note_once(&text) {
            self.mailbox.report(&error);
            let is_over = failed_at.elapsed() >= self.shared.settings.lease;
            if is_over && self.shared.stop.is_stopped() {
                return;
            }
            pause(pauses.next());
        }
    }

    fn note_once(&self, text: &str) -> Result<()> {
        let (key, holder) = (
            self.shared.key(&self.mailbox.processor),
            self.shared.holder(&self.mailbox),
        );
        let held = self.mailbox.held().clone();
        self.shared.run(|sql| key.fail(sql, holder, &held, text))
    }

    /// Stores the checkpoint and releases the leases.
    fn leave(&mut self) {
        let written = self.write_checkpoint();
        let confirmed = self.confirm();
        let (key, holder) = (
            self.shared.key(&self.mailbox.processor),
            self.shared.holder(&self.mailbox),
        );
        let released = self.shared.run(|sql| key.release(sql, holder));
        // On an error, the leases expire by themselves, and nothing is lost.
        let errors = [written, confirmed]
            .into_iter()
            .filter_map(|done| done.err().and_then(BatchError::into_error))
            .chain(released.err());
        errors.for_each(|error| self.mailbox.report(&error));
        self.forget();
        self.mailbox.held().clear();
    }
}

impl BatchError {
    fn into_error(self) -> Option<Error> {
        match self {
            Self::Database(error) => Some(error),
            Self::Unwell(error) => Some(*error),
            Self::Handler(_) | Self::Lost | Self::Stopped(_) => None,
        }
    }
}

//! The thread that handles messages: one batch, one transaction, one checkpoint.

mod batch;
mod call;
mod missed;
mod one_by_one;
mod requests;
mod turn;

use super::mailbox::{Batch, Mailbox};
use super::processor::Processor;
use super::shared::Shared;
use crate::database::{BackOff, pause};
use crate::error::{Error, ProcessorError, Result, caught};
use crate::slots::{Coverage, HeldSlot, Missed, parking};
use crossbeam_channel::{RecvTimeoutError, select};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
pub(super) use turn::Turn;

/// Where nothing has to be handled, the checkpoint follows after this time.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// Between attempts to note a failure.
const LONGEST_NOTE_PAUSE: Duration = Duration::from_millis(500);

/// Why a worker has ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The consumer was stopped.
    Stopped,
    /// A message met the condition to stop after.
    Condition,
    /// The processor failed.
    Failed(Error),
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    /// How many slots the processor has.
    all_slots: u32,
    held: Vec<HeldSlot>,
    /// Everything up to here is done, if not yet stored.
    reached: u64,
    checkpoint_written_at: Instant,
    /// Streams of which something is parked.
    parked: HashSet<(i32, String)>,
    /// Holders of these slots have died here: one message at a time.
    after_crash: bool,
    /// Set while events are handled that older code has passed over.
    replaying: Option<Replaying>,
    /// A batch of which it is unknown whether it was committed.
    unconfirmed: Option<Unconfirmed>,
    /// The table says already why the processor has stopped.
    is_noted: bool,
    lost_database: BackOff,
    /// Without a thread of its own, it waits for the database until then.
    waits_until: Option<Instant>,
}

/// A batch whose commit got no answer.
struct Unconfirmed {
    held: Vec<HeldSlot>,
    up_to: u64,
    handled: usize,
}

/// Slots of this worker that handle what was passed over, at or before their checkpoint.
struct Replaying {
    coverage: Coverage,
    missed: Missed,
}

/// Why messages could not be handled.
enum BatchError {
    /// The handler has failed.
    Handler(HandlerError),
    /// The slots were lost to somebody else, or reset.
    Lost,
    /// A statement of ours has failed.
    Database(Error),
    /// The processor was stopped, by another worker or with another version; the reason is noted.
    Stopped(String),
    /// The handler has failed because the database was not well.
    Unwell(Box<Error>),
}

/// What a handler returned, and with which messages.
struct HandlerError {
    cause: anyhow::Error,
    /// Names the messages; empty where there are none.
    place: String,
    /// The position of the message, where it was handled alone: that was an attempt.
    alone: Option<u64>,
}

impl From<anyhow::Error> for HandlerError {
    fn from(cause: anyhow::Error) -> Self {
        Self {
            cause,
            place: String::new(),
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

    /// Runs to the end, in a thread of its own.
    pub(super) fn run(mut self) -> Ended {
        let ended = match self.begin().and_then(|()| self.caught(Self::work)) {
            Ok(ended) | Err(ended) => ended,
        };
        self.end(ended)
    }

    /// Before the first batch.
    pub(super) fn begin(&mut self) -> Result<(), Ended> {
        self.caught(|worker| {
            if let Some(hook) = &worker.processor().options.on_start {
                hook(());
            }
        })
    }

    /// Ends it without a word to the database, where the tenant is gone with its slots.
    pub(super) fn abandon(mut self) {
        self.forget();
        self.mailbox.held().clear();
        let _ = self.stopped();
    }

    /// After the last batch: the reason is noted, and the leases are given back.
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

    /// User code may panic outside the handler, too: then the processor has failed.
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

    /// After an error: how long to leave the database alone, or why the worker ends.
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

    /// Shows why the worker waits; returns for how long.
    fn wait_for_database(&mut self, error: &Error, is_there: bool) -> Duration {
        // What was committed is only known from the table.
        self.mailbox.leases_changed.store(true, Ordering::SeqCst);
        self.forget();
        let pause = self.lost_database.next();
        self.shared
            .note_waiting(&self.mailbox, error, pause, is_there);
        pause
    }

    /// Does one thing: looks at the leases, works off requests, handles a batch, or waits for one of these.
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

    /// What comes before the next batch: a stop, the leases, requests.
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
            self.work_off_requests()?;
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
        self.shared.note_going_on(&self.mailbox);
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

    /// Waits for a batch, but not longer than a checkpoint may be overdue.
    fn wait_to_write_checkpoint(&mut self) -> Result<Option<Batch>, BatchError> {
        match self.mailbox.inbox.1.recv_timeout(self.checkpoint_due()) {
            Ok(batch) => Ok(Some(batch)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.write_checkpoint()?;
                Ok(None)
            }
        }
    }

    /// In how much time the checkpoint is overdue.
    fn checkpoint_due(&self) -> Duration {
        FLUSH_AFTER.saturating_sub(self.checkpoint_written_at.elapsed())
    }

    /// The checkpoint of the hindmost slot.
    fn checkpoint(&self) -> u64 {
        self.held
            .iter()
            .map(|slot| slot.position)
            .min()
            .unwrap_or_default()
    }

    /// Stops asking for messages, until the leases were looked at.
    fn forget(&mut self) {
        self.held.clear();
        let mut demand = self.mailbox.demand();
        demand.generation += 1;
        demand.after = None;
        drop(demand);
        while self.mailbox.inbox.1.try_recv().is_ok() {}
    }

    /// Gives up and takes slots, and begins at the hindmost of those that it has then.
    fn look_at_leases(&mut self) -> Result<(), BatchError> {
        self.write_checkpoint()?;
        self.confirm()?;
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
        let (key, holder) = (shared.key(&mailbox.processor), shared.holder(&mailbox));
        let held = shared.run(|sql| key.take(sql, holder))?;
        // Another worker may have failed: the processor stops everywhere.
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

    /// Lets everybody see why the processor has stopped. It is noted until it is noted: a failure that nobody sees looks like a
    /// processor that runs. A consumer that is stopped meanwhile tries that for the time of a lease.
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

    /// Stores what is done and gives the leases back.
    fn leave(&mut self) {
        let written = self.write_checkpoint();
        let confirmed = self.confirm();
        let (key, holder) = (
            self.shared.key(&self.mailbox.processor),
            self.shared.holder(&self.mailbox),
        );
        let released = self.shared.run(|sql| key.release(sql, holder));
        // Where this fails, the leases run out by themselves; nothing is lost.
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

//! The thread that handles messages: one batch, one transaction, one checkpoint.

mod batch;
mod call;
mod requests;
mod settle;

use super::lease::HeldSlot;
use super::parking::{self};
use super::processor::Processor;
use super::seat::{Batch, Seat, Shared};
use crate::database::back_off::BackOff;
use crate::error::{Error, ProcessorError, Result};
use crossbeam_channel::{RecvTimeoutError, select};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Where nothing has to be handled, the checkpoint follows after this time.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

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
    seat: Arc<Seat>,
    /// How many slots the processor has.
    all_slots: u32,
    held: Vec<HeldSlot>,
    /// Everything up to here is done, if not yet stored.
    reached: u64,
    stored_at: Instant,
    /// Streams of which something is parked.
    parked: HashSet<(i32, String)>,
    /// Holders of these slots have died here: one message at a time.
    careful: bool,
    lost_database: BackOff,
}

/// Why messages could not be handled.
enum Trouble {
    /// The handler has failed.
    Handler(anyhow::Error),
    /// The slots were lost to somebody else, or reset.
    Lost,
    /// The database has failed.
    Database(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, seat: Arc<Seat>, all_slots: u32) -> Self {
        Self {
            shared,
            seat,
            all_slots,
            held: Vec::new(),
            reached: 0,
            stored_at: Instant::now(),
            parked: HashSet::new(),
            careful: false,
            lost_database: BackOff::new(Duration::from_millis(20), Duration::from_secs(2)),
        }
    }

    pub(super) fn run(mut self) -> Ended {
        if let Some(hook) = &self.processor().options.on_start {
            hook(());
        }
        let ended = self.work();
        if let Ended::Failed(error) = &ended {
            self.note_failure(error);
        }
        self.leave();
        if let Some(hook) = &self.processor().options.on_stop {
            hook(());
        }
        ended
    }

    fn processor(&self) -> &Processor {
        &self.seat.processor
    }

    fn work(&mut self) -> Ended {
        loop {
            match self.tick() {
                Ok(None) => {}
                Ok(Some(ended)) => return ended,
                Err(Trouble::Lost) => {
                    self.seat.leases_changed.store(true, Ordering::SeqCst);
                    self.forget();
                }
                Err(Trouble::Database(error)) if survives(&error) => {
                    self.seat.report(&error);
                    // What was committed is only known from the table.
                    self.seat.leases_changed.store(true, Ordering::SeqCst);
                    self.forget();
                    let pause = self.lost_database.next();
                    self.shared.stop.pause(pause);
                }
                Err(Trouble::Database(error)) => return Ended::Failed(self.failed(error.into())),
                Err(Trouble::Handler(error)) => return Ended::Failed(self.failed(error)),
            }
        }
    }

    /// Does one thing: looks at the leases, works off requests, handles a batch, or waits for one of these.
    fn tick(&mut self) -> Result<Option<Ended>, Trouble> {
        if self.shared.stop.is_stopped() {
            return Ok(Some(Ended::Stopped));
        }
        if let Some(error) = self.seat.feed_error().take() {
            return Err(Trouble::Handler(anyhow::Error::new(error)));
        }
        if self.seat.leases_changed.swap(false, Ordering::SeqCst) {
            self.look_at_leases()?;
        }
        if self.seat.requested.swap(false, Ordering::SeqCst) && !self.held.is_empty() {
            self.work_off_requests()?;
        }
        let batch = if self.held.is_empty() || self.reached == self.stored() {
            select! {
                recv(self.seat.inbox.1) -> batch => batch.ok(),
                recv(self.seat.bell.1) -> _ => None,
            }
        } else {
            self.wait_to_store()?
        };
        let Some(batch) = batch else {
            return Ok(None);
        };
        self.shared.ring_poller();
        if batch.generation != self.seat.demand().generation || self.held.is_empty() {
            return Ok(None);
        }
        let (head, up_to) = (batch.head, batch.up_to);
        if let Some(ended) = self.digest(&batch)? {
            return Ok(Some(ended));
        }
        self.lost_database.reset();
        let is_target = self
            .shared
            .settings
            .until
            .is_some_and(|until| up_to >= until);
        if is_target {
            self.store()?;
        }
        if up_to >= head
            && self.seat.inbox.1.is_empty()
            && let Some(hook) = &self.processor().options.on_caught_up
        {
            hook(up_to);
        }
        Ok(None)
    }

    /// Waits for a batch, but not longer than the checkpoint may be behind.
    fn wait_to_store(&mut self) -> Result<Option<Batch>, Trouble> {
        let patience = FLUSH_AFTER.saturating_sub(self.stored_at.elapsed());
        match self.seat.inbox.1.recv_timeout(patience) {
            Ok(batch) => Ok(Some(batch)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.store()?;
                Ok(None)
            }
        }
    }

    /// The checkpoint of the hindmost slot.
    fn stored(&self) -> u64 {
        self.held
            .iter()
            .map(|slot| slot.position)
            .min()
            .unwrap_or_default()
    }

    /// Stops asking for messages, until the leases were looked at.
    fn forget(&mut self) {
        self.held.clear();
        let mut demand = self.seat.demand();
        demand.generation += 1;
        demand.after = None;
        drop(demand);
        while self.seat.inbox.1.try_recv().is_ok() {}
    }

    /// Gives up and takes slots, and begins at the hindmost of those that it has then.
    fn look_at_leases(&mut self) -> Result<(), Trouble> {
        self.store()?;
        let (shared, seat) = (Arc::clone(&self.shared), Arc::clone(&self.seat));
        let (key, holder) = (shared.key(&seat.processor), shared.holder(&seat));
        let held = shared.run(|sql| key.take(sql, holder))?;
        // Another worker may have failed: the processor stops everywhere.
        if let Some(failure) = shared.run(|sql| key.failure(sql))? {
            return Err(Trouble::Handler(anyhow::Error::msg(failure)));
        }
        if held == self.held {
            return Ok(());
        }
        let parked = shared.run(|sql| parking::streams(sql, key, &held))?;
        self.parked = parked.into_iter().collect();
        self.careful = held.iter().any(|slot| slot.crashes > 0);
        *self.seat.held() = held.iter().map(|slot| (slot.slot, slot.epoch)).collect();
        self.forget();
        self.held = held;
        self.reached = self.stored();
        self.stored_at = Instant::now();
        if !self.held.is_empty() {
            let mut demand = self.seat.demand();
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

    /// Lets everybody see why the processor has stopped.
    fn note_failure(&self, error: &Error) {
        self.seat.report(error);
        let Error::Processor(ProcessorError::Failed { source, .. }) = error else {
            return;
        };
        let (key, text) = (self.shared.key(&self.seat.processor), format!("{source:#}"));
        if let Err(error) = self.shared.run(|sql| key.fail(sql, &text)) {
            self.seat.report(&error);
        }
    }

    /// Stores what is done and gives the leases back.
    fn leave(&mut self) {
        let stored = self.store();
        let (key, holder) = (
            self.shared.key(&self.seat.processor),
            self.shared.holder(&self.seat),
        );
        let released = self.shared.run(|sql| key.release(sql, holder));
        // Where this fails, the leases run out by themselves; nothing is lost.
        let errors = stored
            .err()
            .and_then(Trouble::into_error)
            .into_iter()
            .chain(released.err());
        errors.for_each(|error| self.seat.report(&error));
        self.forget();
        self.seat.held().clear();
    }
}

impl Trouble {
    fn into_error(self) -> Option<Error> {
        match self {
            Self::Database(error) => Some(error),
            Self::Handler(_) | Self::Lost => None,
        }
    }
}

/// Whether the worker goes on after such an error of the database: it will pass, or only its outcome is unknown.
fn survives(error: &Error) -> bool {
    error.is_retryable() || error.is_outcome_unknown()
}

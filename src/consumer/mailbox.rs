//! State that a worker shares with the poller and the lease renewer.

use super::processor::Processor;
use crate::error::{Error, chain};
use crate::events::RecordedMessage;
use crate::slots::Survived;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A piece of the feed. Several workers share it, so it may contain messages that a worker does not handle.
#[derive(Clone)]
pub(super) struct Batch {
    /// Generation of the demand that this batch answers.
    pub(super) generation: u64,
    pub(super) messages: Arc<[RecordedMessage]>,
    /// Every message up to this position is in this batch or in an earlier one.
    pub(super) up_to: u64,
    /// Last position drawn when the feed was read.
    pub(super) head: u64,
}

/// A worker's demand for messages.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demand {
    /// Raised when the worker changes its position, so that batches of the earlier demand are discarded.
    pub(super) generation: u64,
    /// Position after which messages are wanted; `None` if none are wanted.
    pub(super) after: Option<u64>,
    /// Whether the worker knows that it has reached the end of the feed.
    pub(super) greeted: bool,
}

/// A worker's running handler and non-fatal errors.
#[derive(Debug, Default)]
struct Health {
    /// Start time of the running handler.
    busy_since: Option<Instant>,
    /// Number of non-fatal errors since the last progress.
    errors: u32,
    /// The last of these errors, until it is noted in the database.
    survived: Option<(String, Instant)>,
}

/// The reason why a processor waits for the database, and the time of the next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Error of the database, with its causes.
    pub cause: String,
    /// Time of the next attempt.
    pub retry_at: SystemTime,
}

/// Maximum number of batches in a worker's channel.
const WAITING_BATCHES: usize = 2;

pub(super) struct Mailbox {
    pub(super) processor: Arc<Processor>,
    pub(super) worker: i32,
    pub(super) inbox: (Sender<Batch>, Receiver<Batch>),
    /// Wakes the worker for all other reasons than a batch.
    pub(super) bell: (Sender<()>, Receiver<()>),
    demand: Mutex<Demand>,
    /// Whether the worker has to check its leases.
    pub(super) leases_changed: AtomicBool,
    /// Whether a replay or a discard was requested.
    pub(super) requested: AtomicBool,
    /// A fatal error that another thread has met on behalf of the worker.
    fatal_error: Mutex<Option<Arc<Error>>>,
    /// Whether the worker's thread has ended, so that its leases expire.
    ended: AtomicBool,
    health: Mutex<Health>,
    /// Set while the worker waits for the database.
    waiting: Mutex<Option<Waiting>>,
    /// The slots as the worker knows them, with their epochs.
    held: Mutex<Vec<(i32, i64)>>,
    /// Number of handled messages.
    pub(super) handled: AtomicU64,
}

impl Mailbox {
    pub(super) fn new(processor: Arc<Processor>, worker: i32) -> Self {
        Self {
            processor,
            worker,
            inbox: bounded(WAITING_BATCHES),
            bell: bounded(1),
            demand: Mutex::default(),
            leases_changed: AtomicBool::new(true),
            requested: AtomicBool::new(true),
            fatal_error: Mutex::default(),
            ended: AtomicBool::new(false),
            health: Mutex::default(),
            waiting: Mutex::default(),
            held: Mutex::default(),
            handled: AtomicU64::new(0),
        }
    }

    pub(super) fn demand(&self) -> MutexGuard<'_, Demand> {
        self.demand.lock()
    }

    /// Ends the worker with an error. Otherwise it would wait for ever for a feed that cannot be read, or lose its
    /// errors.
    pub(super) fn fail(&self, error: &Arc<Error>) {
        *self.fatal_error() = Some(Arc::clone(error));
        let _ = self.bell.0.try_send(());
    }

    pub(super) fn fatal_error(&self) -> MutexGuard<'_, Option<Arc<Error>>> {
        self.fatal_error.lock()
    }

    pub(super) fn wait(&self, error: &Error, pause: Duration) {
        *self.waiting.lock() = Some(Waiting {
            cause: chain(error),
            retry_at: SystemTime::now() + pause,
        });
    }

    pub(super) fn go_on(&self) {
        *self.waiting.lock() = None;
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.lock().is_some()
    }

    pub(super) fn waiting(&self) -> Option<Waiting> {
        self.waiting.lock().clone()
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Vec<(i32, i64)>> {
        self.held.lock()
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    /// Passes an error to the `on_error` hook. If the hook panics, this worker ends. The calling thread may serve other
    /// workers and continues.
    pub(super) fn report(&self, error: &Error) {
        if let Err(panicked) = self.processor.try_report(error) {
            self.fail(&Arc::new(panicked));
        }
    }

    /// Reports a non-fatal error, and keeps it for the next renewal.
    pub(super) fn survive(&self, error: &Error) {
        self.report(error);
        let mut health = self.health.lock();
        health.errors = health.errors.saturating_add(1);
        health.survived = Some((chain(error), Instant::now()));
    }

    /// Resets the count of non-fatal errors after progress.
    pub(super) fn recover(&self) {
        self.health.lock().errors = 0;
    }

    /// Runs the handler and measures its time, which the next renewal reports.
    pub(super) fn while_busy<T>(&self, run: impl FnOnce() -> T) -> T {
        self.health.lock().busy_since = Some(Instant::now());
        let done = run();
        self.health.lock().busy_since = None;
        done
    }

    pub(super) fn busy_for(&self) -> Option<Duration> {
        let busy_since = self.health.lock().busy_since;
        busy_since.map(|since| since.elapsed())
    }

    /// Returns the last non-fatal error that is not noted yet.
    pub(super) fn survived(&self) -> Option<Survived> {
        let health = self.health.lock();
        let (error, at) = health.survived.as_ref()?;
        Some(Survived {
            error: error.clone(),
            ago: at.elapsed(),
            times: health.errors.max(1),
        })
    }

    /// Clears a noted error, unless another one has occurred meanwhile.
    pub(super) fn note_noted(&self, noted: &Survived) {
        let mut health = self.health.lock();
        if health.errors.max(1) == noted.times {
            health.survived = None;
        }
    }

    pub(super) fn ring(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::SeqCst);
        let _ = self.bell.0.try_send(());
    }
}

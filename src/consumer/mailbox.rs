//! Where a worker meets the poller that feeds it and the lease renewer that renews its leases.

use super::processor::Processor;
use crate::error::{Error, chain};
use crate::events::RecordedMessage;
use crate::slots::Survived;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A piece of the feed. Shared by all workers that it is for, so it may hold messages that are none of a worker's business.
#[derive(Clone)]
pub(super) struct Batch {
    /// The demand that it answers.
    pub(super) generation: u64,
    pub(super) messages: Arc<[RecordedMessage]>,
    /// Everything up to here is in this batch or was in earlier ones.
    pub(super) up_to: u64,
    /// The last position drawn when the feed was read.
    pub(super) head: u64,
}

/// What a worker wants next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demand {
    /// Raised whenever the worker begins elsewhere, so that batches on their way are not mistaken for the new ones.
    pub(super) generation: u64,
    /// After which position; `None` for nothing.
    pub(super) after: Option<u64>,
    /// Whether it was told where the feed ends since it began there.
    pub(super) greeted: bool,
}

/// How the worker does.
#[derive(Debug, Default)]
struct Health {
    /// Since when its handler runs.
    busy_since: Option<Instant>,
    /// How many errors it has survived since it got on.
    errors: u32,
    /// The last of them, until it is noted.
    survived: Option<(String, Instant)>,
}

/// Why a processor waits until the database is well again, and when it tries again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// What the database said, with its causes.
    pub cause: String,
    /// When the processor tries again.
    pub retry_at: SystemTime,
}

/// How many batches wait for a worker: one is handled, the next is there already.
const WAITING_BATCHES: usize = 2;

pub(super) struct Mailbox {
    pub(super) processor: Arc<Processor>,
    pub(super) worker: i32,
    pub(super) inbox: (Sender<Batch>, Receiver<Batch>),
    /// Wakes the worker for anything but a batch.
    pub(super) bell: (Sender<()>, Receiver<()>),
    demand: Mutex<Demand>,
    /// The worker shall look at its leases.
    pub(super) leases_changed: AtomicBool,
    /// Somebody has asked for a replay or a discard.
    pub(super) requested: AtomicBool,
    /// Why the worker cannot go on, where another thread has found that out.
    fatal_error: Mutex<Option<Arc<Error>>>,
    /// The worker's thread has ended, so its leases run out.
    ended: AtomicBool,
    health: Mutex<Health>,
    /// Why the worker waits for the database, and until when.
    waiting: Mutex<Option<Waiting>>,
    /// The slots as the worker knows them, with their epochs.
    held: Mutex<Vec<(i32, i64)>>,
    /// How many messages were handled.
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

    /// Ends the worker: it would wait for ever for a feed that cannot be read, or report to nobody.
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

    /// Reports an error, also one that is survived. A hook that panics ends the worker, not the thread that has the error,
    /// which may serve other workers, too.
    pub(super) fn report(&self, error: &Error) {
        if let Err(panicked) = self.processor.try_report(error) {
            self.fail(&Arc::new(panicked));
        }
    }

    /// Tells of an error after which the worker goes on, and keeps it for the next renewal.
    pub(super) fn survive(&self, error: &Error) {
        self.report(error);
        let mut health = self.health.lock();
        health.errors = health.errors.saturating_add(1);
        health.survived = Some((chain(error), Instant::now()));
    }

    /// The worker has got on.
    pub(super) fn recover(&self) {
        self.health.lock().errors = 0;
    }

    /// Runs the handler; how long it takes is told when the lease is renewed.
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

    /// What was survived last and is not noted yet.
    pub(super) fn survived(&self) -> Option<Survived> {
        let health = self.health.lock();
        let (error, at) = health.survived.as_ref()?;
        Some(Survived {
            error: error.clone(),
            ago: at.elapsed(),
            times: health.errors.max(1),
        })
    }

    /// An error is noted, unless another came meanwhile.
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

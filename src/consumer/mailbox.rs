//! Where a worker meets the poller that feeds it and the lease renewer that renews its leases.

use super::processor::Processor;
use crate::error::{Error, chain};
use crate::events::RecordedMessage;
use crate::trace;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

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
    /// Why the feed cannot be read, if that will not pass by itself.
    feed_error: Mutex<Option<Arc<Error>>>,
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
            feed_error: Mutex::default(),
            waiting: Mutex::default(),
            held: Mutex::default(),
            handled: AtomicU64::new(0),
        }
    }

    pub(super) fn demand(&self) -> MutexGuard<'_, Demand> {
        self.demand.lock()
    }

    /// Ends the worker: it would wait for ever for a feed that cannot be read.
    pub(super) fn fail(&self, error: &Arc<Error>) {
        *self.feed_error() = Some(Arc::clone(error));
        let _ = self.bell.0.try_send(());
    }

    pub(super) fn feed_error(&self) -> MutexGuard<'_, Option<Arc<Error>>> {
        self.feed_error.lock()
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

    /// Tells whoever wants to know of an error, also of one that is survived.
    pub(super) fn report(&self, error: &Error) {
        trace::failed(&self.processor.name, error);
        if let Some(hook) = &self.processor.options.on_error {
            hook(error);
        }
    }

    pub(super) fn ring(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::SeqCst);
        let _ = self.bell.0.try_send(());
    }
}

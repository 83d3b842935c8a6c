//! Stopping a consumer from another thread or a signal handler.

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Stops consumers from anywhere: from another thread, or from a signal handler.
///
/// ```no_run
/// # use emmett_postgresql::{EventStore, RawEvent, Reactor, Recorded, consumer::StopHandle};
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// # let store = EventStore::builder("postgresql://localhost/shop").open()?;
/// let stop = StopHandle::new();
/// // Give a clone to the code that decides when to stop, for example to a signal crate.
/// let on_signal = stop.clone();
/// # drop(on_signal);
/// let report = store
///     .consumer()
///     .reactor(Reactor::new("audit").each(|_: &Recorded<RawEvent>, _| Ok(())))
///     .stop_on(&stop)
///     .run_until_caught_up()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct StopHandle {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    stopped: AtomicBool,
    parents: Vec<Arc<State>>,
    listeners: Mutex<Listeners>,
}

#[derive(Debug, Default)]
struct Listeners {
    bells: Vec<Sender<()>>,
    children: Vec<Weak<State>>,
}

impl State {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst) || self.parents.iter().any(|parent| parent.is_stopped())
    }

    fn ring(&self) {
        let listeners = self.listeners();
        for bell in &listeners.bells {
            // The channel holds one pending wake-up; a second one adds nothing.
            let _ = bell.try_send(());
        }
        for child in listeners.children.iter().filter_map(Weak::upgrade) {
            child.ring();
        }
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock()
    }
}

impl StopHandle {
    /// Creates a handle that is not attached to a consumer yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops all consumers that were started with this handle, cleanly: running batches are finished, and leases are
    /// released. Returns at once. A consumer that is started with the handle later stops at once, too.
    pub fn stop(&self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        self.state.ring();
    }

    /// Returns whether [`stop`](StopHandle::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.state.is_stopped()
    }

    /// Returns a handle that stops with this one. It can also be stopped alone, so that a consumer that ends does not
    /// stop others.
    pub(super) fn child(&self) -> Self {
        Self::child_of(&[self])
    }

    /// Returns a handle that stops with any of these, and can also be stopped alone.
    pub(super) fn child_of(parents: &[&Self]) -> Self {
        let state = Arc::new(State {
            parents: parents
                .iter()
                .map(|parent| Arc::clone(&parent.state))
                .collect(),
            ..State::default()
        });
        for parent in parents {
            let children = &mut parent.state.listeners().children;
            children.retain(|child| child.strong_count() > 0);
            children.push(Arc::downgrade(&state));
        }
        Self { state }
    }

    /// Sends a wake-up when the handle is stopped.
    pub(super) fn notify(&self, bell: Sender<()>) {
        self.state.listeners().bells.push(bell.clone());
        // Check after the channel is registered: a concurrent stop sends a wake-up, or is seen here.
        if self.is_stopped() {
            let _ = bell.try_send(());
        }
    }

    /// Pauses for a time, or until the handle is stopped.
    pub(super) fn pause(&self, duration: Duration) {
        let (bell, rings): (_, Receiver<()>) = bounded(1);
        self.notify(bell.clone());
        // A timeout and a wake-up mean the same to the caller.
        let _ = rings.recv_timeout(duration);
        let bells = &mut self.state.listeners().bells;
        bells.retain(|other| !other.same_channel(&bell));
    }
}

//! Stopping from outside: from another thread, or when a signal comes.

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Stops consumers from wherever it is: another thread, or what handles SIGTERM.
///
/// ```no_run
/// # use emmett_postgresql::{EventStore, RawEvent, Reactor, Recorded, consumer::StopHandle};
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// # let store = EventStore::builder("postgresql://localhost/shop").open()?;
/// let stop = StopHandle::new();
/// // Hand a clone to whatever notices that it is time to end, for example a crate for signals.
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
            // A bell that has rung and was not heard yet needs no second ring.
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
    /// A handle that stops nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops all consumers that were started with this handle, cleanly: batches in hand are finished, leases given back.
    /// Returns at once. A consumer that is started with it later stops at once, too.
    pub fn stop(&self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        self.state.ring();
    }

    /// Whether it was used.
    pub fn is_stopped(&self) -> bool {
        self.state.is_stopped()
    }

    /// A handle that stops with this one, and can be stopped alone: a consumer that ends does not end others.
    pub(super) fn child(&self) -> Self {
        Self::child_of(&[self])
    }

    /// A handle that stops with any of these, and can be stopped alone.
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

    /// Rings when it is used.
    pub(super) fn notify(&self, bell: Sender<()>) {
        self.state.listeners().bells.push(bell.clone());
        // Looked at after the bell is there: who stops meanwhile rings it, or is seen here.
        if self.is_stopped() {
            let _ = bell.try_send(());
        }
    }

    /// Waits, but no longer than until it is used.
    pub(super) fn pause(&self, duration: Duration) {
        let (bell, rings): (_, Receiver<()>) = bounded(1);
        self.notify(bell.clone());
        // Both ways to end are the same to the caller.
        let _ = rings.recv_timeout(duration);
        let bells = &mut self.state.listeners().bells;
        bells.retain(|other| !other.same_channel(&bell));
    }
}

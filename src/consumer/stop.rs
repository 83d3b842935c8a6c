//! Stopping from outside: from another thread, or when a signal comes.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Stops consumers from wherever it is: another thread, or what handles SIGTERM.
///
/// ```no_run
/// # use emmett_postgresql::{EventStore, Reactor, RawEvent, Recorded, StopHandle};
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
    bells: Mutex<Vec<Sender<()>>>,
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
        for bell in self.bells().iter() {
            // A bell that has rung and was not heard yet needs no second ring.
            let _ = bell.try_send(());
        }
    }

    /// Whether it was used.
    pub fn is_stopped(&self) -> bool {
        self.state.stopped.load(Ordering::SeqCst)
    }

    /// Rings when it is used.
    pub(super) fn notify(&self, bell: Sender<()>) {
        if self.is_stopped() {
            let _ = bell.try_send(());
        }
        self.bells().push(bell);
    }

    /// Waits, but no longer than until it is used.
    pub(super) fn pause(&self, duration: Duration) {
        let (bell, rings): (_, Receiver<()>) = bounded(1);
        self.notify(bell.clone());
        // Both ways to end are the same to the caller.
        let _ = rings.recv_timeout(duration);
        self.bells().retain(|other| !other.same_channel(&bell));
    }

    fn bells(&self) -> std::sync::MutexGuard<'_, Vec<Sender<()>>> {
        self.state
            .bells
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

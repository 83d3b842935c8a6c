//! A tenant's seat in the consumer: it rests, waits for a thread, or has a thread.

use super::work::{Progress, Rest, TenantWork};
use crate::consumer::shared::Shared;
use crate::events::feed_news::TenantKey;
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

pub(super) struct Seat {
    pub(super) tenant: TenantKey,
    state: Mutex<State>,
    work: Mutex<TenantWork>,
    /// Set once the processors are registered.
    shared: OnceLock<Arc<Shared>>,
    is_removed: AtomicBool,
    ready: Sender<Arc<Self>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Resting(Rest),
    /// Waits in the queue for a thread.
    Ready,
    Running,
    /// Woken while running: the reason may have come too late for this turn.
    RunningAndWoken,
    Ended,
}

impl Seat {
    pub(super) fn new(tenant: TenantKey, work: TenantWork, ready: Sender<Arc<Self>>) -> Arc<Self> {
        let shared = OnceLock::new();
        if let Some(prepared) = work.shared() {
            let _ = shared.set(Arc::clone(prepared));
        }
        Arc::new(Self {
            tenant,
            state: Mutex::new(State::Resting(Rest::default())),
            work: Mutex::new(work),
            shared,
            is_removed: AtomicBool::new(false),
            ready,
        })
    }

    pub(super) fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.get()
    }

    /// Queues the seat for a thread. Several calls before its turn have the effect of one.
    pub(super) fn wake(self: &Arc<Self>) {
        let mut state = self.state.lock();
        match *state {
            State::Resting(_) => self.queue(&mut state),
            State::Running => *state = State::RunningAndWoken,
            State::Ready | State::RunningAndWoken | State::Ended => {}
        }
    }

    /// Marks the tenant as removed. Its workers end without using the database.
    pub(super) fn remove(self: &Arc<Self>) {
        self.is_removed.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Returns the condition of the next turn, or `None` while the seat has a thread or waits for one.
    pub(super) fn rest(&self) -> Option<Rest> {
        match *self.state.lock() {
            State::Resting(rest) => Some(rest),
            _ => None,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.state.lock() == State::Ended
    }

    /// Works for the tenant, on the thread that took the seat from the queue.
    pub(super) fn run(self: &Arc<Self>) {
        *self.state.lock() = State::Running;
        let mut work = self.work.lock();
        let progress = if self.is_removed.load(Ordering::SeqCst) {
            work.abandon();
            Progress::Ended
        } else {
            work.turn(&self.tenant)
        };
        if let Some(shared) = work.shared() {
            let _ = self.shared.set(Arc::clone(shared));
        }
        drop(work);
        let mut state = self.state.lock();
        match progress {
            Progress::Ended => *state = State::Ended,
            Progress::Rest(rest) if *state == State::Running => *state = State::Resting(rest),
            Progress::Rest(_) | Progress::More => self.queue(&mut state),
        }
    }

    fn queue(self: &Arc<Self>, state: &mut State) {
        *state = State::Ready;
        // The threads end only with the consumer.
        let _ = self.ready.send(Arc::clone(self));
    }
}

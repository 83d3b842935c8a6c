//! The bells of this process: one for each poller.

use super::rung::RungPartitions;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Default)]
pub(super) struct Bells {
    /// Number of bells. An append without pollers reads nothing else.
    count: AtomicUsize,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    bells: Vec<Bell>,
    /// Whether a thread listens to other processes. Kept under the lock of the bells, so that the thread cannot end while a
    /// bell is added.
    listening: bool,
}

struct Bell {
    rings_for: RingsFor,
    bell: Sender<()>,
}

enum RingsFor {
    Partition(String),
    /// Records the partitions in the list.
    All(Arc<RungPartitions>),
}

impl Bell {
    /// Records the partition, `None` for any. Returns false if the bell is for others.
    fn is_for(&self, partition: Option<&str>) -> bool {
        match (&self.rings_for, partition) {
            (RingsFor::Partition(own), Some(partition)) => own == partition,
            (RingsFor::Partition(_), None) => true,
            (RingsFor::All(rung), partition) => {
                rung.add(partition);
                true
            }
        }
    }

    /// Returns false if the poller is gone. A bell that has rung and was not yet heard needs no second ring.
    fn ring(&self) -> bool {
        !matches!(self.bell.try_send(()), Err(TrySendError::Disconnected(())))
    }
}

impl Bells {
    pub(super) fn add(&self, partition: &str) -> Receiver<()> {
        self.add_for(RingsFor::Partition(partition.to_owned()))
    }

    pub(super) fn add_for_all(&self, rung: &Arc<RungPartitions>) -> Receiver<()> {
        self.add_for(RingsFor::All(Arc::clone(rung)))
    }

    fn add_for(&self, rings_for: RingsFor) -> Receiver<()> {
        let (bell, rings) = bounded(1);
        let mut state = self.state.write();
        state.bells.push(Bell { rings_for, bell });
        self.count.store(state.bells.len(), Ordering::SeqCst);
        rings
    }

    pub(super) fn ring(&self, partition: &str) {
        self.ring_for(Some(partition));
    }

    pub(super) fn ring_all(&self) {
        self.ring_for(None);
    }

    /// Rings, and removes the bells whose pollers are gone.
    fn ring_for(&self, partition: Option<&str>) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let heard = |bell: &Bell| !bell.is_for(partition) || bell.ring();
        // `all` would stop at the first bell without a poller.
        let unheard = self
            .state
            .read()
            .bells
            .iter()
            .filter(|bell| !heard(bell))
            .count();
        if unheard == 0 {
            return;
        }
        let mut state = self.state.write();
        state.bells.retain(heard);
        self.count.store(state.bells.len(), Ordering::SeqCst);
    }

    /// Whether the caller has to listen to other processes: a bell exists and no other thread listens.
    pub(super) fn begin_listening(&self) -> bool {
        let mut state = self.state.write();
        let begins = !state.listening && !state.bells.is_empty();
        state.listening |= begins;
        begins
    }

    /// Whether the listening thread can stop: no bell is left.
    pub(super) fn end_listening(&self) -> bool {
        if self.count.load(Ordering::SeqCst) > 0 {
            return false;
        }
        let mut state = self.state.write();
        state.listening = !state.bells.is_empty();
        !state.listening
    }

    /// Records that the thread could not be started.
    pub(super) fn give_up_listening(&self) {
        self.state.write().listening = false;
    }
}

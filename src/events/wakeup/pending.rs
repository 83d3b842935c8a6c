//! The partitions with pending notifications.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Every append reads this. It finds its partition under a shared lock and changes it by atomics.
pub(super) struct PendingPartitions {
    partitions: RwLock<HashMap<Arc<str>, Arc<PendingPartition>>>,
    began_at: Instant,
}

pub(super) struct PendingPartition {
    pub(super) name: Arc<str>,
    pending: AtomicBool,
    /// Nothing becomes pending before this time, in milliseconds since the start: the partition has no listener.
    unheard_until: AtomicU64,
}

impl PendingPartitions {
    pub(super) fn new() -> Self {
        Self {
            partitions: RwLock::default(),
            began_at: Instant::now(),
        }
    }

    /// Whether the notifier has to be woken: the partition was not pending, and may have listeners.
    pub(super) fn add(&self, name: &str) -> bool {
        let partition = self.find(name);
        self.now() >= partition.unheard_until.load(Ordering::Relaxed)
            && !partition.pending.swap(true, Ordering::AcqRel)
    }

    /// Takes all pending partitions. An append that commits from now on is pending again.
    pub(super) fn take(&self) -> Vec<Arc<PendingPartition>> {
        let partitions = self.partitions.read();
        let taken =
            |partition: &&Arc<PendingPartition>| partition.pending.swap(false, Ordering::AcqRel);
        partitions.values().filter(taken).cloned().collect()
    }

    /// Records that the partition has no listener. Nothing becomes pending for it until the time is up.
    pub(super) fn unheard(&self, partition: &PendingPartition, time: Duration) {
        let until = self.now() + milliseconds(time);
        partition.unheard_until.store(until, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn knows(&self, name: &str) -> bool {
        self.partitions.read().contains_key(name)
    }

    pub(super) fn forget(&self, name: &str) {
        self.partitions.write().remove(name);
    }

    fn find(&self, name: &str) -> Arc<PendingPartition> {
        let partitions = self.partitions.read();
        if let Some(partition) = partitions.get(name) {
            return Arc::clone(partition);
        }
        drop(partitions);
        let mut partitions = self.partitions.write();
        let name: Arc<str> = name.into();
        let partition = partitions
            .entry(Arc::clone(&name))
            .or_insert_with(|| Arc::new(PendingPartition::new(name)));
        Arc::clone(partition)
    }

    fn now(&self) -> u64 {
        milliseconds(self.began_at.elapsed())
    }
}

impl PendingPartition {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            pending: AtomicBool::new(false),
            unheard_until: AtomicU64::new(0),
        }
    }

    /// Makes the partition pending again after a failed notification.
    pub(super) fn put_back(&self) {
        self.pending.store(true, Ordering::Release);
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

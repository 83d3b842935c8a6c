//! The partitions that a connection has used. Its server process keeps a partition's tables, functions and plans in memory
//! until it ends. Neither DEALLOCATE nor DISCARD frees them.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::{Arc, Weak};

/// The partitions that one connection has used.
pub(super) struct UsedPartitions(Arc<Mutex<Used>>);

struct Used {
    names: HashSet<Arc<str>>,
    most: usize,
    /// One of them was removed.
    has_removed: bool,
}

impl UsedPartitions {
    /// Creates the list of a new connection, with a maximum number of partitions.
    pub(super) fn at_most(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Used {
            names: HashSet::new(),
            most,
            has_removed: false,
        })))
    }

    /// Records that the connection is about to use a partition. Returns false if it must not: the maximum is reached, or the
    /// connection still holds a removed partition.
    pub(super) fn add(&self, partition: &Arc<str>) -> bool {
        let mut used = self.0.lock();
        if used.has_removed {
            return false;
        }
        if used.names.contains(partition) {
            return true;
        }
        if used.names.len() >= used.most {
            return false;
        }
        used.names.insert(Arc::clone(partition));
        true
    }

    pub(super) fn has_removed(&self) -> bool {
        self.0.lock().has_removed
    }
}

/// The partitions used by all connections of a pool.
#[derive(Default)]
pub(super) struct PartitionsOfPool(Mutex<Vec<Weak<Mutex<Used>>>>);

impl PartitionsOfPool {
    /// Creates the list of a new connection of the pool.
    pub(super) fn open(&self, most: usize) -> UsedPartitions {
        let used = UsedPartitions::at_most(most);
        let mut connections = self.0.lock();
        connections.retain(|connection| connection.strong_count() > 0);
        connections.push(Arc::downgrade(&used.0));
        used
    }

    /// Has each connection that used the partition replaced before its next use.
    pub(super) fn removed(&self, partition: &str) {
        for used in self.0.lock().iter().filter_map(Weak::upgrade) {
            let mut used = used.lock();
            used.has_removed |= used.names.contains(partition);
        }
    }
}

//! The work after a commit: wake consumers, wake the follower, write snapshots.

use super::snapshot_writer::SnapshotWriter;
use crate::events::{Partition, Snapshot, Wakeups};
use crate::projection::InlineProjections;
use std::sync::Arc;

/// The work that a transaction leaves for the time after its commit.
#[derive(Debug, Default)]
pub(crate) struct AfterCommit {
    /// Number of messages that the commit makes visible.
    pub(crate) appended: usize,
    /// Whether it left projections of the store to a follower.
    pub(crate) is_followed: bool,
    pub(crate) snapshots: Vec<Snapshot>,
}

impl AfterCommit {
    pub(crate) fn add(&mut self, other: Self) {
        self.appended += other.appended;
        self.is_followed |= other.is_followed;
        self.snapshots.extend(other.snapshots);
    }
}

/// Those who act after a commit. Shared by all clones of a store.
#[derive(Clone)]
pub(crate) struct Committed {
    pub(crate) wakeups: Wakeups,
    pub(crate) snapshots: Arc<SnapshotWriter>,
}

impl Committed {
    /// Call it only after a commit.
    pub(crate) fn act(
        &self,
        partition: &Arc<Partition>,
        projections: &InlineProjections,
        after: AfterCommit,
    ) {
        if after.appended > 0 {
            self.wakeups.appended(&partition.name, after.appended);
        }
        if after.is_followed {
            projections.wake_follower();
        }
        for snapshot in after.snapshots {
            self.snapshots.offer(partition, snapshot);
        }
    }
}

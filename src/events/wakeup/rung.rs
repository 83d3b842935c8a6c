//! The partitions for which a bell that serves all has rung.

use parking_lot::Mutex;
use std::collections::HashSet;

/// Partitions that may have new messages since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct RungPartitions {
    state: Mutex<Rung>,
}

/// The partitions for which the bell has rung.
#[derive(Debug, Default)]
pub(crate) struct Rung {
    pub(crate) partitions: HashSet<String>,
    /// Notifications may have been lost, for any partition.
    pub(crate) is_any: bool,
}

impl RungPartitions {
    /// Called before the bell rings. `None` means any partition.
    pub(super) fn add(&self, partition: Option<&str>) {
        let mut rung = self.state.lock();
        match partition {
            None => rung.is_any = true,
            Some(partition) if !rung.partitions.contains(partition) => {
                rung.partitions.insert(partition.to_owned());
            }
            Some(_) => {}
        }
    }

    pub(crate) fn take(&self) -> Rung {
        std::mem::take(&mut self.state.lock())
    }
}

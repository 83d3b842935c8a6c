//! For which partitions a bell has rung that rings for all.

use parking_lot::Mutex;
use std::collections::HashSet;

/// The partitions in which something may have been appended since they were taken last.
#[derive(Debug, Default)]
pub(crate) struct RungPartitions {
    state: Mutex<Rung>,
}

/// What a bell for all partitions has rung for.
#[derive(Debug, Default)]
pub(crate) struct Rung {
    pub(crate) partitions: HashSet<String>,
    /// Notifications may have been lost: in any of them.
    pub(crate) is_any: bool,
}

impl RungPartitions {
    /// Before the bell is rung. `None` for any partition.
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

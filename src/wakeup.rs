//! Waking up whoever waits for new messages of a partition.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::{Arc, Mutex, PoisonError};

/// Tells the pollers of this process that something was appended.
#[derive(Clone, Default)]
pub(crate) struct Wakeups {
    sleepers: Arc<Mutex<Vec<Sleeper>>>,
}

struct Sleeper {
    partition: String,
    bell: Sender<()>,
}

impl Wakeups {
    /// Rings whenever a message may have been added to the partition; once, however often that happened meanwhile.
    pub(crate) fn subscribe(&self, partition: &str) -> Receiver<()> {
        let (bell, rings) = bounded(1);
        let sleeper = Sleeper {
            partition: partition.to_owned(),
            bell,
        };
        self.sleepers().push(sleeper);
        rings
    }

    /// Something was committed that appended to the partition.
    pub(crate) fn appended(&self, partition: &str) {
        // A bell that has rung and was not heard yet needs no second ring; one that nobody can hear any more is dropped.
        self.sleepers().retain(|sleeper| {
            sleeper.partition != partition
                || !matches!(
                    sleeper.bell.try_send(()),
                    Err(crossbeam_channel::TrySendError::Disconnected(()))
                )
        });
    }

    fn sleepers(&self) -> std::sync::MutexGuard<'_, Vec<Sleeper>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

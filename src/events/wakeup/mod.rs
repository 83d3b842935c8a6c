//! Wakes pollers that wait for new messages of a partition: in this process, and in others by `NOTIFY`.

mod bells;
mod channel;
mod listener;
mod notifier;
mod pending;
mod rung;
#[cfg(test)]
mod tests;

use crate::database::Connections;
use crate::trace;
use bells::Bells;
use channel::Channel;
use crossbeam_channel::Receiver;
use listener::Listener;
use notifier::Notifier;
pub(crate) use rung::RungPartitions;
use std::sync::Arc;

/// Tells the pollers about appends. Dropping the last clone sends the pending notifications and ends the threads.
#[derive(Clone)]
pub(crate) struct Wakeups {
    bells: Arc<Bells>,
    /// `None` if notifications are off.
    notifier: Option<Arc<Notifier>>,
    /// `None` if notifications are off or no connection can be kept for them. Pollers then only poll.
    listener: Option<Arc<Listener>>,
}

impl Wakeups {
    pub(crate) fn new(connections: &Connections, schema: &str, notifications: bool) -> Self {
        let bells = Arc::<Bells>::default();
        let channel = Channel::of(schema);
        let notifier =
            notifications.then(|| Arc::new(Notifier::new(connections, schema, &channel)));
        let listener = (notifications && connections.can_be_dedicated())
            .then(|| Arc::new(Listener::new(connections, &channel, &bells)));
        Self {
            bells,
            notifier,
            listener,
        }
    }

    /// Rings when a message may have been added to the partition. Several appends before a poll ring once.
    pub(crate) fn subscribe(&self, partition: &str) -> Receiver<()> {
        let rings = self.bells.add(partition);
        if let Some(listener) = &self.listener {
            listener.start();
        }
        rings
    }

    /// Rings when a message may have been added to any partition; `rung` records which.
    pub(crate) fn subscribe_to_all(&self, rung: &Arc<RungPartitions>) -> Receiver<()> {
        let rings = self.bells.add_for_all(rung);
        if let Some(listener) = &self.listener {
            listener.start();
        }
        rings
    }

    /// Reports a committed append of this many messages to the partition.
    pub(crate) fn appended(&self, partition: &str, messages: usize) {
        trace::appended(partition, messages);
        self.bells.ring(partition);
        if let Some(notifier) = &self.notifier {
            notifier.appended(partition);
        }
    }

    #[cfg(test)]
    fn knows(&self, partition: &str) -> bool {
        self.notifier
            .as_ref()
            .is_some_and(|notifier| notifier.knows(partition))
    }

    /// Forgets a removed partition.
    pub(crate) fn forget(&self, partition: &str) {
        // Ringing removes the bells whose pollers are gone.
        self.bells.ring(partition);
        if let Some(notifier) = &self.notifier {
            notifier.forget(partition);
        }
    }
}

//! Waking up whoever waits for new messages of a partition: in this process, and in others by `NOTIFY`.

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

/// Tells the pollers that something was appended. Once the last clone is dropped, what others are still to be told is
/// sent, and the threads end.
#[derive(Clone)]
pub(crate) struct Wakeups {
    bells: Arc<Bells>,
    /// `None` where notifications are off.
    notifier: Option<Arc<Notifier>>,
    /// `None` where notifications are off, or no connection can be kept for them: pollers only poll then.
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

    /// Rings whenever a message may have been added to the partition; once, however often that happened meanwhile.
    pub(crate) fn subscribe(&self, partition: &str) -> Receiver<()> {
        let rings = self.bells.add(partition);
        if let Some(listener) = &self.listener {
            listener.start();
        }
        rings
    }

    /// Rings whenever a message may have been added to any partition; `rung` tells to which.
    pub(crate) fn subscribe_to_all(&self, rung: &Arc<RungPartitions>) -> Receiver<()> {
        let rings = self.bells.add_for_all(rung);
        if let Some(listener) = &self.listener {
            listener.start();
        }
        rings
    }

    /// Something was committed that appended so many messages to the partition.
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

    /// Forgets a partition that was removed.
    pub(crate) fn forget(&self, partition: &str) {
        // Ringing removes the bells that nobody hears any more.
        self.bells.ring(partition);
        if let Some(notifier) = &self.notifier {
            notifier.forget(partition);
        }
    }
}

//! What all threads of a consumer share.

use super::mailbox::Mailbox;
use super::processor::Processor;
use super::requested_rebuilds::RequestedRebuilds;
use super::stop::StopHandle;
use crate::database::Sql;
use crate::error::Result;
use crate::events::BatchLimits;
use crate::slots::{Holder, ProcessorKey};
use crate::store::EventStore;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How a consumer works.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) limits: BatchLimits,
    pub(super) lease: Duration,
    pub(super) longest_idle: Duration,
    /// Nothing after this position is handled.
    pub(super) until: Option<u64>,
}

/// What all threads of a consumer share.
pub(super) struct Shared {
    pub(super) store: EventStore,
    pub(super) settings: Settings,
    /// The name of this consumer among all processes.
    pub(super) owner: String,
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    /// Ends this consumer.
    pub(super) stop: StopHandle,
    /// Wakes the poller.
    pub(super) poller: (Sender<()>, Receiver<()>),
    pub(super) rebuilds: Mutex<RequestedRebuilds>,
}

impl Shared {
    pub(super) fn key<'a>(&'a self, processor: &'a Processor) -> ProcessorKey<'a> {
        ProcessorKey {
            partition: self.store.partition(),
            name: &processor.name,
            version: processor.version,
        }
    }

    pub(super) fn holder(&self, mailbox: &Mailbox) -> Holder<'_> {
        Holder {
            owner: &self.owner,
            worker: mailbox.worker,
            lease: self.settings.lease,
        }
    }

    pub(super) fn ring_poller(&self) {
        let _ = self.poller.0.try_send(());
    }

    /// How many messages a processor has handled, by all its workers here.
    pub(super) fn handled(&self, processor: &str) -> u64 {
        self.mailboxes
            .iter()
            .filter(|mailbox| mailbox.processor.name == processor)
            .map(|mailbox| mailbox.handled.load(Ordering::Relaxed))
            .sum()
    }

    /// Runs statements that may be repeated.
    pub(super) fn run<T>(&self, run: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
        self.store.connections().run(true, run)
    }
}

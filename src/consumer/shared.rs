//! State that all threads of a consumer share.

use super::mailbox::{Mailbox, Waiting};
use super::processor::Processor;
use super::requested_rebuilds::RequestedRebuilds;
use super::retry_pauses::RetryPauses;
use super::stop::StopHandle;
use crate::database::{PooledTransaction, Sql};
use crate::error::{Error, Result, chain};
use crate::events::BatchLimits;
use crate::slots::{Holder, ProcessorKey};
use crate::store::EventStore;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Maximum time for writing a note about a processor.
const LONGEST_NOTE: Duration = Duration::from_millis(500);

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) limits: BatchLimits,
    pub(super) lease: Duration,
    pub(super) longest_idle: Duration,
    /// Position at which the run ends. Later messages are not handled.
    pub(super) until: Option<u64>,
    /// Whether the run ends by itself.
    pub(super) is_job: bool,
    /// Maximum time that a read of the feed waits for a lock; `None` for no limit.
    pub(super) lock_patience: Option<Duration>,
    pub(super) retry_pauses: RetryPauses,
}

/// State that all threads of a consumer share.
pub(super) struct Shared {
    pub(super) store: EventStore,
    pub(super) settings: Settings,
    /// Unique name of this consumer among all processes.
    pub(super) owner: String,
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    /// Stops this consumer.
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

    /// Returns the number of running workers of a processor.
    pub(super) fn living_workers(&self, processor: &Processor) -> usize {
        let of_processor = self
            .mailboxes
            .iter()
            .filter(|mailbox| mailbox.processor.name == processor.name && mailbox.is_alive());
        of_processor.count()
    }

    /// Returns whether the consumer retries after an error of the library's own statements. A service retries all
    /// database errors, unless the database does not fit the program: operators may repair the cause while it runs. A
    /// job has to end, so it retries transient errors only.
    pub(super) fn outlasts(&self, error: &Error) -> bool {
        let passes = error.is_retryable() || error.is_outcome_unknown();
        passes
            || !self.settings.is_job
                && matches!(error, Error::Database(error) if !error.is_misfit())
    }

    /// Shows that a worker waits for the database: in this process, and in the table if the database is reachable.
    pub(super) fn note_waiting(
        &self,
        mailbox: &Mailbox,
        error: &Error,
        pause: Duration,
        is_there: bool,
    ) {
        mailbox.survive(error);
        mailbox.wait(error, pause);
        if !is_there {
            return;
        }
        let (key, cause) = (self.key(&mailbox.processor), chain(error));
        // The slots themselves may be locked. The next attempt notes it again.
        let _ = self.note(|sql| key.wait(sql, &self.owner, &cause, pause));
    }

    /// Shows that a worker has resumed.
    pub(super) fn note_resumed(&self, mailbox: &Mailbox) {
        if !mailbox.is_waiting() {
            return;
        }
        let key = self.key(&mailbox.processor);
        // On an error it stays waiting, and the next handled batch notes it.
        if self.note(|sql| key.go_on(sql, &self.owner)).is_ok() {
            mailbox.go_on();
        }
    }

    /// Writes a note, without waiting long for a lock.
    fn note(&self, write: impl FnOnce(&mut dyn Sql) -> Result<()>) -> Result<()> {
        let mut transaction =
            PooledTransaction::begin_within(self.store.connections(), LONGEST_NOTE)?;
        write(transaction.sql())?;
        Ok(transaction.commit()?)
    }

    pub(super) fn ring_poller(&self) {
        let _ = self.poller.0.try_send(());
    }

    /// Returns the number of messages that a processor's workers in this consumer have handled.
    pub(super) fn handled(&self, processor: &str) -> u64 {
        self.mailboxes
            .iter()
            .filter(|mailbox| mailbox.processor.name == processor)
            .map(|mailbox| mailbox.handled.load(Ordering::Relaxed))
            .sum()
    }

    /// Returns the reason why a worker of the processor waits for the database.
    pub(super) fn waiting(&self, processor: &str) -> Option<Waiting> {
        let mut mailboxes = self.mailboxes.iter();
        mailboxes
            .find(|mailbox| mailbox.processor.name == processor && mailbox.is_waiting())
            .and_then(|mailbox| mailbox.waiting())
    }

    /// Reads the feed, and waits for locks no longer than the settings allow.
    pub(super) fn read<T>(&self, mut read: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
        let Some(patience) = self.settings.lock_patience else {
            return self.run(read);
        };
        let (connections, lease) = (self.store.connections(), self.settings.lease);
        let mut transaction = PooledTransaction::begin_among_locks(connections, lease, patience)?;
        let page = read(transaction.sql())?;
        transaction.commit()?;
        Ok(page)
    }

    /// Runs idempotent statements with retries.
    pub(super) fn run<T>(&self, run: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
        self.store.connections().run(true, run)
    }
}

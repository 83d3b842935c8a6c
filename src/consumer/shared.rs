//! What all threads of a consumer share.

use super::mailbox::{Mailbox, Waiting};
use super::processor::Processor;
use super::requested_rebuilds::RequestedRebuilds;
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

/// How long a note about a processor may take.
const LONGEST_NOTE: Duration = Duration::from_millis(500);

/// How a consumer works.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) limits: BatchLimits,
    pub(super) lease: Duration,
    pub(super) longest_idle: Duration,
    /// Nothing after this position is handled.
    pub(super) until: Option<u64>,
    /// Whether the run ends by itself.
    pub(super) is_job: bool,
    /// How long a read of the feed waits for a lock; `None` for as long as it takes.
    pub(super) lock_patience: Option<Duration>,
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

    /// Whether the consumer goes on after such an error of a statement of ours. A service outlasts each of the database's but
    /// those that say that the database does not fit the program: what is wrong may be mended under it. A job has to end,
    /// so it outlasts what passes by itself.
    pub(super) fn outlasts(&self, error: &Error) -> bool {
        let passes = error.is_retryable() || error.is_outcome_unknown();
        passes
            || !self.settings.is_job
                && matches!(error, Error::Database(error) if !error.is_misfit())
    }

    /// Shows that a worker waits for the database: to its own process, and in the table, if the database is there.
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
        // The slots may be what is locked; the next attempt notes it again.
        let _ = self.note(|sql| key.wait(sql, &self.owner, &cause, pause));
    }

    /// Shows that a worker waits no more.
    pub(super) fn note_going_on(&self, mailbox: &Mailbox) {
        if !mailbox.is_waiting() {
            return;
        }
        let key = self.key(&mailbox.processor);
        // Else it stays waiting: the next batch that is handled notes it.
        if self.note(|sql| key.go_on(sql, &self.owner)).is_ok() {
            mailbox.go_on();
        }
    }

    /// A note is not worth waiting for behind a lock.
    fn note(&self, write: impl FnOnce(&mut dyn Sql) -> Result<()>) -> Result<()> {
        let mut transaction =
            PooledTransaction::begin_within(self.store.connections(), LONGEST_NOTE)?;
        write(transaction.sql())?;
        Ok(transaction.commit()?)
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

    /// Why a worker of the processor waits for the database.
    pub(super) fn waiting(&self, processor: &str) -> Option<Waiting> {
        let mut mailboxes = self.mailboxes.iter();
        mailboxes
            .find(|mailbox| mailbox.processor.name == processor && mailbox.is_waiting())
            .and_then(|mailbox| mailbox.waiting())
    }

    /// Reads the feed, no longer behind a lock than the settings allow.
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

    /// Runs statements that may be repeated.
    pub(super) fn run<T>(&self, run: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
        self.store.connections().run(true, run)
    }
}

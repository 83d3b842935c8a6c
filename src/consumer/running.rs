//! A consumer whose threads run.

use super::mailbox::{Mailbox, Waiting};
use super::poller::Poller;
use super::shared::Shared;
use super::thread::Thread;
use super::worker::{Ended, Worker};
use crate::error::{Error, ProcessorError, Result};
use crate::slots::Leaseholder;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a consumer that is stopped waits for its threads, unless it is told.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Why a worker has ended.
pub(super) struct WorkerEnded {
    pub(super) processor: String,
    pub(super) ended: Ended,
}

/// A running consumer: a thread that reads the feed, and a worker or more for each processor. One more thread renews the leases
/// of all consumers of the store.
///
/// Dropping it stops it, like [`stop`](Consumer::stop), but cannot report an error, nor threads that have not ended.
#[must_use = "dropping it stops it"]
pub struct Consumer {
    pub(super) shared: Arc<Shared>,
    ended: Receiver<WorkerEnded>,
    workers: Vec<Thread>,
    poller: Option<Thread>,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Consumer")
            .field("owner", &self.shared.owner)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    pub(super) fn start(shared: &Arc<Shared>, slots: &[u32]) -> Result<Self> {
        let (ended, endings) = unbounded();
        let mut consumer = Self {
            shared: Arc::clone(shared),
            ended: endings,
            workers: Vec::new(),
            poller: None,
        };
        for mailbox in &shared.mailboxes {
            shared.stop.notify(mailbox.bell.0.clone());
        }
        shared.stop.notify(shared.poller.0.clone());
        for (mailbox, slots) in shared.mailboxes.iter().zip(slots) {
            let worker = Worker::new(Arc::clone(shared), Arc::clone(mailbox), *slots);
            let run = worker_thread(worker, mailbox, ended.clone());
            let thread = Thread::start(&worker_name(mailbox), run)?;
            consumer.workers.push(thread);
        }
        let poller = Poller::new(Arc::clone(shared));
        consumer.poller = Some(Thread::start("emt:poller", move || poller.run())?);
        shared.store.lease_renewer().add(consumer.leaseholder())?;
        Ok(consumer)
    }

    /// Stops it cleanly: batches in hand are finished or rolled back, and the leases are given back, so that others can go on
    /// at once. Waits for the handlers that run, up to 30 seconds: [`stop_within`](Consumer::stop_within) with that time.
    ///
    /// # Errors
    /// Those of [`stop_within`](Consumer::stop_within).
    pub fn stop(self) -> Result<()> {
        self.stop_within(STOP_WITHIN)
    }

    /// Stops it cleanly, like [`stop`](Consumer::stop), and waits no longer than this time for its threads. One that has not
    /// ended then, because its handler does not return or the database does not answer, ends alone. Its lease is not renewed,
    /// so another worker takes over, and what it does after that is not committed.
    ///
    /// ```no_run
    /// # use emmett_postgresql::{EventStore, RawEvent, Reactor, Recorded};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = EventStore::open("postgresql://localhost/shop")?;
    /// # let reactor = Reactor::new("audit").each(|_: &Recorded<RawEvent>, _| Ok(()));
    /// let consumer = store.consumer().reactor(reactor).start()?;
    /// // ...
    /// consumer.stop_within(Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::StillRunning`], which names these threads; [`ProcessorError::Failed`] when a processor had failed
    /// before.
    pub fn stop_within(mut self, time: Duration) -> Result<()> {
        self.shared.stop.stop();
        self.finish(time)
    }

    /// Waits until all processors have ended by themselves: because they failed, because a message met their
    /// [`stop_after`](crate::Projector::stop_after), or because a [`StopHandle`](crate::consumer::StopHandle) was used. After that, 30
    /// seconds at the most.
    ///
    /// # Errors
    /// [`ProcessorError::Failed`], of the first that failed; [`ProcessorError::StillRunning`].
    pub fn wait(mut self) -> Result<()> {
        let (bell, stopped) = bounded(1);
        self.shared.stop.notify(bell);
        // The first that does not end because the consumer was stopped is waited for below, as are those after it.
        let mut workers = self.workers.iter();
        let _ = workers.all(|worker| worker.wait_unless(&stopped));
        self.finish(STOP_WITHIN)
    }

    /// How many messages a processor has handled since the consumer was started, by all its workers here.
    pub fn handled(&self, processor: &str) -> u64 {
        self.shared.handled(processor)
    }

    fn leaseholder(&self) -> Arc<dyn Leaseholder> {
        Arc::clone(&self.shared) as Arc<dyn Leaseholder>
    }

    /// Why a processor waits for the database here, and when it tries again; `None` when it does not.
    ///
    /// A lock, a timeout, a full disk or a lost server never stops a processor, nor does it park an event. Where it can be
    /// stored, [`EventStore::processors`](crate::EventStore::processors) shows it, too.
    pub fn waiting(&self, processor: &str) -> Option<Waiting> {
        self.shared.waiting(processor)
    }

    /// The endings of workers, as they come.
    pub(super) fn endings(&self) -> &Receiver<WorkerEnded> {
        &self.ended
    }

    fn finish(&mut self, time: Duration) -> Result<()> {
        let mut failure = self.join(time);
        while let Ok(WorkerEnded { processor, ended }) = self.ended.try_recv() {
            if let (Ended::Failed(error), None) = (ended, &failure) {
                failure = Some(match error {
                    Error::Processor(ProcessorError::Failed { .. }) => error,
                    error => Error::processor(processor, error.into()),
                });
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Stops the threads and waits for them.
    fn join(&mut self, time: Duration) -> Option<Error> {
        self.shared.stop.stop();
        let threads = self.workers.drain(..).chain(self.poller.take());
        let failure = join_all(threads, time);
        self.shared
            .store
            .lease_renewer()
            .remove(&self.leaseholder());
        failure
    }
}

/// Waits for threads that were told to end: a panic of one, or the names of those that have not ended in time.
pub(super) fn join_all(threads: impl Iterator<Item = Thread>, time: Duration) -> Option<Error> {
    let deadline = Instant::now().checked_add(time);
    let (mut failure, mut running) = (None, Vec::new());
    for thread in threads {
        let name = thread.name.clone();
        match thread.join_until(deadline) {
            Some(true) => {}
            Some(false) => failure = Some(anyhow::anyhow!("the thread {name} panicked")),
            None => running.push(name),
        }
    }
    if running.is_empty() {
        return failure.map(|panic| Error::processor("of this consumer", panic));
    }
    Some(Error::Processor(ProcessorError::StillRunning {
        threads: running,
        waited: time,
    }))
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.join(STOP_WITHIN);
    }
}

fn worker_name(mailbox: &Mailbox) -> String {
    format!("emt:{}/{}", mailbox.processor.name, mailbox.worker)
}

fn worker_thread(
    worker: Worker,
    mailbox: &Mailbox,
    endings: Sender<WorkerEnded>,
) -> impl FnOnce() + Send + 'static {
    let processor = mailbox.processor.name.clone();
    move || {
        let ended = worker.run();
        // Nobody listens when the consumer is being dropped.
        let _ = endings.send(WorkerEnded { processor, ended });
    }
}

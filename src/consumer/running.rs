//! A running consumer.

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

/// Default time that a stopped consumer waits for its threads.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(30);

/// The end of a worker.
pub(super) struct WorkerEnded {
    pub(super) processor: String,
    pub(super) ended: Ended,
}

/// A running consumer: a thread that reads the feed, and at least one worker for each processor. A further thread
/// renews the leases of all consumers of the store.
///
/// Dropping a consumer stops it, like [`stop`](Consumer::stop). Errors, and threads that have not ended, are not
/// reported then.
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

    /// Stops the consumer cleanly. Running batches are finished or rolled back, and the leases are released, so that
    /// other processes can resume at once.
    ///
    /// Waits up to 30 seconds for running handlers. For another time, use [`stop_within`](Consumer::stop_within).
    ///
    /// # Errors
    /// The errors of [`stop_within`](Consumer::stop_within).
    pub fn stop(self) -> Result<()> {
        self.stop_within(STOP_WITHIN)
    }

    /// Stops the consumer cleanly, like [`stop`](Consumer::stop), and waits for its threads at most this long.
    ///
    /// A thread may not have ended then, because its handler does not return or the database does not answer. It
    /// continues alone. Its lease is not renewed, so another worker takes over, and its later changes are not
    /// committed.
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
    /// - [`ProcessorError::StillRunning`] when threads have not ended in time. The error names them.
    /// - [`ProcessorError::Failed`] when a processor has failed before.
    pub fn stop_within(mut self, time: Duration) -> Result<()> {
        self.shared.stop.stop();
        self.finish(time)
    }

    /// Waits until all processors have ended by themselves. They end when they fail, when a message meets their
    /// [`stop_after`](crate::Projector::stop_after) condition, or when a [`StopHandle`](crate::consumer::StopHandle)
    /// is used. After a stop, it waits at most 30 seconds.
    ///
    /// # Errors
    /// - [`ProcessorError::Failed`] for the first processor that failed.
    /// - [`ProcessorError::StillRunning`] when threads have not ended in time after a stop.
    pub fn wait(mut self) -> Result<()> {
        let (bell, stopped) = bounded(1);
        self.shared.stop.notify(bell);
        // The first worker that ends only by a stop is waited for below, as are all later ones.
        let mut workers = self.workers.iter();
        let _ = workers.all(|worker| worker.wait_unless(&stopped));
        self.finish(STOP_WITHIN)
    }

    /// Returns the number of messages that a processor's workers in this consumer have handled since its start.
    pub fn handled(&self, processor: &str) -> u64 {
        self.shared.handled(processor)
    }

    fn leaseholder(&self) -> Arc<dyn Leaseholder> {
        Arc::clone(&self.shared) as Arc<dyn Leaseholder>
    }

    /// Returns the reason why a processor waits for the database here, and the time of its next attempt. Returns
    /// `None` if it does not wait.
    ///
    /// A lock, a timeout, a full disk or a lost server never stops a processor or parks an event. If the database can
    /// store the reason, [`EventStore::processors`](crate::EventStore::processors) shows it, too.
    pub fn waiting(&self, processor: &str) -> Option<Waiting> {
        self.shared.waiting(processor)
    }

    /// Returns the channel that receives the end of each worker.
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

/// Waits for stopped threads. Returns an error for a panic, or with the names of the threads that have not ended.
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
        // The receiver is gone when the consumer is being dropped.
        let _ = endings.send(WorkerEnded { processor, ended });
    }
}

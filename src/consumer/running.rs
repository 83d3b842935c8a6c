//! A consumer whose threads run.

use super::lease_renewer::LeaseRenewer;
use super::mailbox::{Mailbox, Waiting};
use super::poller::Poller;
use super::shared::Shared;
use super::thread::spawn;
use super::worker::{Ended, Worker};
use crate::error::{Error, ProcessorError, Result, caught};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Why a worker has ended.
pub(super) struct WorkerEnded {
    pub(super) processor: String,
    pub(super) ended: Ended,
}

/// A running consumer: a thread that reads the feed, a worker or more for each processor, and one that renews their leases.
///
/// Dropping it stops it, like [`stop`](Consumer::stop), but cannot report an error.
#[must_use = "dropping it stops it"]
pub struct Consumer {
    pub(super) shared: Arc<Shared>,
    ended: Receiver<WorkerEnded>,
    workers: Vec<JoinHandle<()>>,
    /// Closed when all workers have ended.
    alive: Option<Sender<()>>,
    helpers: Vec<JoinHandle<()>>,
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
        let (alive, all_ended) = bounded(0);
        let mut consumer = Self {
            shared: Arc::clone(shared),
            ended: endings,
            workers: Vec::new(),
            alive: Some(alive),
            helpers: Vec::new(),
        };
        for mailbox in &shared.mailboxes {
            shared.stop.notify(mailbox.bell.0.clone());
        }
        shared.stop.notify(shared.poller.0.clone());
        for (mailbox, slots) in shared.mailboxes.iter().zip(slots) {
            let worker = Worker::new(Arc::clone(shared), Arc::clone(mailbox), *slots);
            let thread = spawn(
                &worker_name(mailbox),
                worker_thread(worker, mailbox, ended.clone()),
            )?;
            consumer.workers.push(thread);
        }
        let poller = Poller::new(Arc::clone(shared));
        consumer
            .helpers
            .push(spawn("emt:poller", move || poller.run())?);
        let renewer = LeaseRenewer::new(Arc::clone(shared), all_ended);
        consumer
            .helpers
            .push(spawn("emt:renew", move || renewer.run())?);
        Ok(consumer)
    }

    /// Stops it cleanly: batches in hand are finished or rolled back, and the leases are given back, so that others can go on
    /// at once. Waits for the handlers that run.
    ///
    /// # Errors
    /// [`ProcessorError::Failed`] when a processor had failed before.
    pub fn stop(mut self) -> Result<()> {
        self.shared.stop.stop();
        self.finish()
    }

    /// Waits until all processors have ended by themselves: because they failed, because a message met their
    /// [`stop_after`](crate::Projector::stop_after), or because a [`StopHandle`](crate::StopHandle) was used.
    ///
    /// # Errors
    /// [`ProcessorError::Failed`], of the first that failed.
    pub fn wait(mut self) -> Result<()> {
        self.finish()
    }

    /// How many messages a processor has handled since the consumer was started, by all its workers here.
    pub fn handled(&self, processor: &str) -> u64 {
        self.shared.handled(processor)
    }

    /// Why a processor waits for the database here, and when it tries again; `None` when it does not.
    ///
    /// A lock, a timeout, a full disk or a lost server never stops a processor, nor does it park an event. Where it can be
    /// stored, [`EventStore::processors`](crate::EventStore::processors) shows it, too.
    pub fn waiting(&self, processor: &str) -> Option<Waiting> {
        let mut mailboxes = self.shared.mailboxes.iter();
        mailboxes
            .find(|mailbox| mailbox.processor.name == processor && mailbox.is_waiting())
            .and_then(|mailbox| mailbox.waiting())
    }

    /// The endings of workers, as they come.
    pub(super) fn endings(&self) -> &Receiver<WorkerEnded> {
        &self.ended
    }

    fn finish(&mut self) -> Result<()> {
        let mut failure = self.join_workers();
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

    /// Waits for the workers, then ends the threads that serve them.
    fn join_workers(&mut self) -> Option<Error> {
        let mut failure = None;
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                failure = Some(Error::processor(
                    "of this consumer",
                    anyhow::anyhow!("a worker panicked"),
                ));
            }
        }
        self.shared.stop.stop();
        self.alive = None;
        for helper in self.helpers.drain(..) {
            // They hold nothing that a panic of theirs could spoil.
            let _ = helper.join();
        }
        failure
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.stop.stop();
        self.join_workers();
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
        // A hook of the user's may panic outside the handler: nobody must wait for this worker for ever.
        let ended = caught("a worker", || worker.run())
            .unwrap_or_else(|cause| Ended::Failed(Error::processor(processor.clone(), cause)));
        // Nobody listens when the consumer is being dropped.
        let _ = endings.send(WorkerEnded { processor, ended });
    }
}

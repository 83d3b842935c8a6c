//! The workers and the reader of a process, in turns on one thread.

use crate::consumer::feed_reader::{FeedReader, Round};
use crate::consumer::message_name::MessageName;
use crate::consumer::plan::{Found, Plan};
use crate::consumer::shared::Shared;
use crate::consumer::worker::{Ended, Place, Turn, Worker};
use crate::error::{Error, ProcessorError, Result};
use crate::store::EventStore;
use std::sync::Arc;

/// A reactor that handles what it appends has no end. It is given up after so many rounds.
const MOST_ROUNDS: usize = 200;

const ENDLESS: &str =
    "it still has work after 200 rounds: does it handle the events that it appends?";

const HELD: &str =
    "an append in an open transaction holds the feed back: end that transaction first";

/// The failure with which the processor has stopped.
pub(crate) struct Stopped {
    pub(crate) error: anyhow::Error,
    /// The message that could not be handled, if there was one.
    pub(crate) message: Option<MessageName>,
}

pub(super) struct Process {
    shared: Arc<Shared>,
    reader: FeedReader,
    workers: Vec<Worker>,
    has_begun: bool,
    failure: Option<Error>,
}

impl Process {
    pub(super) fn start(plan: &Plan, store: &EventStore) -> Result<Self> {
        let (shared, slots) = plan.prepare_in(store.clone(), Found::AtStart)?;
        let worker = |(mailbox, slots): (&Arc<_>, &u32)| {
            Worker::new(Arc::clone(&shared), Arc::clone(mailbox), *slots)
        };
        Ok(Self {
            workers: shared.mailboxes.iter().zip(&slots).map(worker).collect(),
            reader: FeedReader::new(Arc::clone(&shared)),
            shared,
            has_begun: false,
            failure: None,
        })
    }

    /// Works until nothing is left to do, or until the processor fails.
    pub(super) fn run(&mut self) -> Result<()> {
        self.share_slots();
        for _ in 0..MOST_ROUNDS {
            let has_moved = self.turn_workers();
            if self.failure.is_some() || self.workers.is_empty() {
                return Ok(());
            }
            let round = self.reader.round();
            self.refuse_to_wait()?;
            match round {
                Round::Busy | Round::Failed => {}
                _ if has_moved => {}
                Round::Held => return Err(self.given_up(anyhow::Error::msg(HELD))),
                Round::Idle | Round::Unwanted | Round::Waiting(_) => return Ok(()),
            }
        }
        Err(self.given_up(anyhow::Error::msg(ENDLESS)))
    }

    /// Ends the workers cleanly. Returns the failure of the processor.
    pub(super) fn stop(mut self) -> Option<Stopped> {
        for worker in std::mem::take(&mut self.workers) {
            self.end(worker, Ended::Stopped);
        }
        self.failure.map(stopped)
    }

    /// Lets the leases of a process that has ended expire.
    pub(super) fn expire(self) -> Result<()> {
        let key = self.shared.key(&self.shared.mailboxes[0].processor);
        self.shared.run(|sql| key.expire(sql, &self.shared.owner))
    }

    /// The first worker takes all slots, and gives them away as the others ask for them. A renewal would tell it.
    fn share_slots(&mut self) {
        for _ in 0..=self.workers.len() {
            let mailboxes = self.shared.mailboxes.iter();
            mailboxes.for_each(|mailbox| mailbox.ring(&mailbox.leases_changed));
            self.turn_workers();
        }
    }

    /// Gives each worker a turn, until one fails. Returns whether any made progress.
    fn turn_workers(&mut self) -> bool {
        let mut has_moved = false;
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        for mut worker in std::mem::take(&mut self.workers) {
            if self.failure.is_some() {
                self.end(worker, Ended::Stopped);
                continue;
            }
            let begun = if has_begun { Ok(()) } else { worker.begin() };
            match begun.map_or_else(Turn::Ended, |()| worker.turn()) {
                Turn::Ended(ended) => {
                    has_moved = true;
                    self.end(worker, ended);
                    continue;
                }
                Turn::Progress => has_moved = true,
                Turn::Rest(_) => {}
            }
            self.workers.push(worker);
        }
        has_moved
    }

    fn end(&mut self, mut worker: Worker, ended: Ended) {
        if let Ended::Failed(error) = worker.end(ended) {
            self.failure.get_or_insert(error);
        }
    }

    /// A consumer waits for its database. A specification would wait for ever, as nobody else is there to change it.
    fn refuse_to_wait(&self) -> Result<()> {
        let mut mailboxes = self.shared.mailboxes.iter();
        match mailboxes.find_map(|mailbox| mailbox.waiting()) {
            None => Ok(()),
            Some(waiting) => {
                let cause = anyhow::Error::msg(waiting.cause);
                Err(self.given_up(cause.context("it waits for the database")))
            }
        }
    }

    fn given_up(&self, cause: anyhow::Error) -> Error {
        Error::processor(self.shared.mailboxes[0].processor.name.clone(), cause)
    }
}

fn stopped(error: Error) -> Stopped {
    let message = match &error {
        Error::Processor(ProcessorError::Failed { cause, .. }) => cause
            .downcast_ref::<Place>()
            .and_then(|place| place.message.clone()),
        _ => None,
    };
    Stopped {
        error: error.into(),
        message,
    }
}

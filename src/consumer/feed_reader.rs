//! Reads the feed for the workers of a consumer, and distributes the messages.

use super::mailbox::{Batch, Demand, Mailbox};
use super::shared::Shared;
use super::timers::Timers;
use crate::database::BackOff;
use crate::error::{Error, Result};
use crate::events::feed::Part;
use crate::events::{FeedFilter, Horizon, feed};
use std::sync::Arc;
use std::time::Duration;

const SHORTEST_WAIT: Duration = Duration::from_millis(8);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Outcome of a round of reading.
pub(super) enum Round {
    /// Batches were sent, or the workers have no room.
    Busy,
    /// The workers are at the end of the feed.
    Idle,
    /// There are more messages, but an open append holds them back.
    Held,
    /// No worker asks for messages, or none has room.
    Unwanted,
    /// The database could not be read. The next round is due after this time.
    Waiting(Duration),
    /// The feed cannot be read any more. The workers have received the error.
    Failed,
}

pub(super) struct FeedReader {
    shared: Arc<Shared>,
    horizon: Horizon,
    pages: feed::Pages,
    timers: Timers,
    waits: BackOff,
    is_waiting: bool,
}

impl FeedReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            horizon: Horizon {
                position: 0,
                head: 0,
            },
            pages: feed::Pages::default(),
            timers: Timers::new(&shared),
            waits: BackOff::new(SHORTEST_WAIT, LONGEST_WAIT),
            is_waiting: false,
            shared,
        }
    }

    /// Runs a round of reading, and shows errors as the status of the processors.
    pub(super) fn round(&mut self) -> Round {
        match self.read_and_fire() {
            Ok(Round::Unwanted) => Round::Unwanted,
            Ok(round) => {
                self.note_resumed();
                round
            }
            Err(error) if self.shared.outlasts(&error) => self.note_waiting(&error),
            Err(error) => {
                let error = Arc::new(error);
                let mailboxes = self.shared.mailboxes.iter();
                mailboxes.for_each(|mailbox| mailbox.fail(&error));
                Round::Failed
            }
        }
    }

    fn note_waiting(&mut self, error: &Error) -> Round {
        let pause = self.waits.next();
        self.is_waiting = true;
        for mailbox in &self.shared.mailboxes {
            let is_there = !error.is_unavailable();
            self.shared.note_waiting(mailbox, error, pause, is_there);
        }
        Round::Waiting(pause)
    }

    fn note_resumed(&mut self) {
        self.waits.reset();
        if !self.is_waiting {
            return;
        }
        let mailboxes = &self.shared.mailboxes;
        for mailbox in mailboxes {
            self.shared.note_resumed(mailbox);
        }
        self.is_waiting = mailboxes.iter().any(|mailbox| mailbox.is_waiting());
    }

    /// Reads, and fires the timers that are due. Their inputs are read in the next round.
    fn read_and_fire(&mut self) -> Result<Round> {
        let round = self.read_all()?;
        let fired = self.timers.fire(&self.shared, self.horizon.position)?;
        Ok(if fired > 0 { Round::Busy } else { round })
    }

    /// Returns the time until timers need the next round.
    pub(super) fn until_timers(&self) -> Option<Duration> {
        self.timers.rest(&self.shared, self.horizon.position)
    }

    /// Reads once for each position at which workers wait, the lowest first. So no worker waits until the others have
    /// caught up.
    fn read_all(&mut self) -> Result<Round> {
        let mut waiting: Vec<(u64, Demand, Arc<Mailbox>)> = self
            .shared
            .mailboxes
            .iter()
            .filter(|mailbox| !mailbox.inbox.0.is_full())
            .filter_map(|mailbox| {
                let demand = *mailbox.demand();
                Some((demand.after?, demand, Arc::clone(mailbox)))
            })
            .collect();
        if waiting.is_empty() {
            return Ok(Round::Unwanted);
        }
        waiting.sort_by_key(|(after, ..)| *after);
        let mut outcome = Round::Idle;
        let mut rest = waiting.as_slice();
        while let Some(&(after, ..)) = rest.first() {
            let reached = match self.read(after, rest)? {
                Some(reached) => {
                    outcome = Round::Busy;
                    reached
                }
                None => after,
            };
            let served = rest
                .iter()
                .take_while(|(after, ..)| *after < reached)
                .count();
            let there = rest
                .iter()
                .take_while(|(other, ..)| *other == after)
                .count();
            rest = &rest[served.max(there)..];
        }
        if matches!(outcome, Round::Idle) && self.horizon.position < self.horizon.head {
            outcome = Round::Held;
        }
        Ok(outcome)
    }

    /// Reads after a position and distributes the messages. Returns the position that was reached.
    fn read(&mut self, after: u64, waiting: &[(u64, Demand, Arc<Mailbox>)]) -> Result<Option<u64>> {
        let (store, settings) = (&self.shared.store, &self.shared.settings);
        let known = self.horizon;
        let filter = filter_of(waiting);
        let (partition, limits) = (store.partition(), settings.limits);
        let part = Part {
            after,
            up_to: after
                .saturating_add(feed::LONGEST_STEP)
                .min(settings.until.unwrap_or(u64::MAX)),
            filter: &filter,
        };
        let pages = &mut self.pages;
        let (horizon, page) = self.shared.read(|sql| {
            if known.position <= after {
                return feed::poll(sql, partition, part, limits);
            }
            let up_to = part.up_to.min(known.position);
            let page = pages.next(sql, partition, Part { up_to, ..part }, limits)?;
            Ok((known, page))
        })?;
        self.horizon = horizon;
        let reached = page.position;
        if reached <= after {
            greet(waiting, after, horizon);
            return Ok(None);
        }
        let batch = Batch {
            generation: 0,
            messages: page.messages.into(),
            up_to: reached,
            head: horizon.head,
        };
        for (position, demand, mailbox) in waiting {
            if *position < reached {
                hand_over(mailbox, *demand, batch.clone());
            }
        }
        Ok(Some(reached))
    }
}

/// Returns the union of all events that the workers handle. Each worker takes its own part of a batch.
fn filter_of(waiting: &[(u64, Demand, Arc<Mailbox>)]) -> FeedFilter {
    FeedFilter::union(
        waiting
            .iter()
            .map(|(.., mailbox)| &mailbox.processor.handled),
    )
}

/// Sends a batch to a worker if its demand is unchanged. The channel has room, because only this thread sends.
fn hand_over(mailbox: &Mailbox, asked: Demand, batch: Batch) {
    let mut demand = mailbox.demand();
    if demand.generation != asked.generation || demand.after != asked.after {
        return;
    }
    demand.after = Some(batch.up_to);
    demand.greeted = batch.up_to >= batch.head;
    let batch = Batch {
        generation: demand.generation,
        ..batch
    };
    let _ = mailbox.inbox.0.try_send(batch);
}

/// Sends an empty batch to new workers at the end of the feed, so that they know that they have caught up.
fn greet(waiting: &[(u64, Demand, Arc<Mailbox>)], after: u64, horizon: Horizon) {
    for (position, demand, mailbox) in waiting {
        if *position == after && !demand.greeted && horizon.head <= after {
            let end = Batch {
                generation: 0,
                messages: Arc::new([]),
                up_to: after,
                head: horizon.head,
            };
            hand_over(mailbox, *demand, end);
        }
    }
}

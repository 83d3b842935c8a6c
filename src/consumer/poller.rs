//! The thread that reads the feed for all workers of a consumer.

use super::mailbox::{Batch, Demand, Mailbox};
use super::shared::Shared;
use crate::database::BackOff;
use crate::error::Result;
use crate::events::feed::Part;
use crate::events::{FeedFilter, Horizon, feed};
use crossbeam_channel::{Receiver, select_biased};
use std::sync::Arc;
use std::time::Duration;

/// A feed that an open append holds back is asked again soon: if that is rolled back, nobody will say so.
const HELD_SHORTEST: Duration = Duration::from_millis(1);
const HELD_LONGEST: Duration = Duration::from_millis(8);

const IDLE_SHORTEST: Duration = Duration::from_millis(5);

pub(super) struct Poller {
    shared: Arc<Shared>,
    appended: Receiver<()>,
    idle: BackOff,
    held: BackOff,
    failed: BackOff,
    is_failing: bool,
    horizon: Horizon,
}

/// What a round of reading has come to.
enum Round {
    /// Something was handed out, or workers have no room.
    Busy,
    /// There is nothing more.
    Idle,
    /// There is more, but it cannot be read yet.
    Held,
}

impl Poller {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let partition = &shared.store.partition().name;
        Self {
            appended: shared.store.wakeups().subscribe(partition),
            idle: BackOff::new(IDLE_SHORTEST, shared.settings.longest_idle),
            held: BackOff::new(HELD_SHORTEST, HELD_LONGEST),
            failed: BackOff::new(HELD_LONGEST, Duration::from_secs(1)),
            is_failing: false,
            horizon: Horizon {
                position: 0,
                head: 0,
            },
            shared,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stop.is_stopped() {
            let pause = match self.round() {
                Ok(Some(Round::Busy)) => {
                    self.idle.reset();
                    self.held.reset();
                    continue;
                }
                Ok(Some(Round::Idle)) => {
                    self.held.reset();
                    Some(self.idle.next())
                }
                Ok(Some(Round::Held)) => Some(self.held.next()),
                Ok(None) => None,
                Err(error) if !self.shared.outlasts(&error) => {
                    let error = Arc::new(error);
                    self.shared
                        .mailboxes
                        .iter()
                        .for_each(|mailbox| mailbox.fail(&error));
                    return;
                }
                Err(error) => {
                    let pause = self.failed.next();
                    self.is_failing = true;
                    for mailbox in &self.shared.mailboxes {
                        let is_there = !error.is_unavailable();
                        self.shared.note_waiting(mailbox, &error, pause, is_there);
                    }
                    Some(pause)
                }
            };
            self.wait(pause);
        }
    }

    /// Reads once for each place where workers stand, the hindmost first: none of them has to wait for the others to get
    /// there. `None` when no worker has room for more.
    fn round(&mut self) -> Result<Option<Round>> {
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
            return Ok(None);
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
        self.failed.reset();
        if self.is_failing {
            let mailboxes = &self.shared.mailboxes;
            for mailbox in mailboxes {
                self.shared.note_going_on(mailbox);
            }
            self.is_failing = mailboxes.iter().any(|mailbox| mailbox.is_waiting());
        }
        if matches!(outcome, Round::Idle) && self.horizon.position < self.horizon.head {
            outcome = Round::Held;
        }
        Ok(Some(outcome))
    }

    /// Reads after a position and hands out what is there; returns how far that was.
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
        let (horizon, page) = self.shared.run(|sql| {
            if known.position <= after {
                return feed::poll(sql, partition, part, limits);
            }
            let up_to = part.up_to.min(known.position);
            let page = feed::page(sql, partition, Part { up_to, ..part }, limits)?;
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

    /// Waits until something was appended, a worker has room, or it is time to look again.
    fn wait(&mut self, pause: Option<Duration>) {
        // Without a pause there is nobody to read for.
        let pause = pause.unwrap_or(Duration::from_secs(3_600));
        select_biased! {
            recv(self.shared.poller.1) -> _ => {}
            recv(self.appended) -> _ => self.idle.reset(),
            default(pause) => {}
        }
    }
}

/// What any of the workers handles. Each takes its own part of a batch.
fn filter_of(waiting: &[(u64, Demand, Arc<Mailbox>)]) -> FeedFilter {
    FeedFilter::union(
        waiting
            .iter()
            .map(|(.., mailbox)| &mailbox.processor.handled),
    )
}

/// Gives a batch to a worker that still wants it. There is room: only this thread sends.
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

/// Tells workers that have just begun, and find nothing, that they are at the end.
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

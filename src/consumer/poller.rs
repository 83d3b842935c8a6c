//! The thread that reads the feed for all workers of a consumer.

use super::feed_reader::{FeedReader, Round};
use super::shared::Shared;
use crate::database::BackOff;
use crossbeam_channel::{Receiver, select_biased};
use std::sync::Arc;
use std::time::Duration;

/// An open append holds the feed back. Poll soon, because a rollback sends no notification.
const HELD_SHORTEST: Duration = Duration::from_millis(1);
const HELD_LONGEST: Duration = Duration::from_millis(8);

const IDLE_SHORTEST: Duration = Duration::from_millis(5);

/// Effectively without a limit: a worker wakes the poller.
const LONG: Duration = Duration::from_secs(3_600);

pub(super) struct Poller {
    shared: Arc<Shared>,
    appended: Receiver<()>,
    idle: BackOff,
    held: BackOff,
    reader: FeedReader,
}

impl Poller {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let partition = &shared.store.partition().name;
        Self {
            appended: shared.store.wakeups().subscribe(partition),
            idle: BackOff::new(IDLE_SHORTEST, shared.settings.longest_idle),
            held: BackOff::new(HELD_SHORTEST, HELD_LONGEST),
            reader: FeedReader::new(Arc::clone(&shared)),
            shared,
        }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stop.is_stopped() {
            let pause = match self.reader.round() {
                Round::Busy => {
                    self.idle.reset();
                    self.held.reset();
                    continue;
                }
                Round::Idle => {
                    self.held.reset();
                    self.idle.next()
                }
                Round::Held => self.held.next(),
                // There is no worker to read for.
                Round::Unwanted => LONG,
                Round::Waiting(pause) => pause,
                Round::Failed => return,
            };
            let due = self.reader.until_timers();
            self.wait(due.map_or(pause, |due| due.min(pause)));
        }
    }

    /// Waits for an append, for room in a worker's channel, or for the next poll.
    fn wait(&mut self, pause: Duration) {
        select_biased! {
            recv(self.shared.poller.1) -> _ => {}
            recv(self.appended) -> _ => self.idle.reset(),
            default(pause) => {}
        }
    }
}

//! Pauses, and their growth from one attempt to the next.

use std::time::Duration;

/// Waits for the time, without interruption. A wait that an event may end belongs on a channel, with a deadline.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where only time ends the wait: the next poll of the database"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Doubles from the shortest to the longest pause.
#[derive(Debug, Clone)]
pub(crate) struct BackOff {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl BackOff {
    pub(crate) fn new(shortest: Duration, longest: Duration) -> Self {
        let shortest = shortest.min(longest);
        Self {
            shortest,
            longest,
            next: shortest,
        }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.longest);
        pause
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.shortest;
    }
}

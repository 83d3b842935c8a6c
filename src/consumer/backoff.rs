//! Pauses that grow.

use std::time::Duration;

/// Doubles from the shortest to the longest pause.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(shortest: Duration, longest: Duration) -> Self {
        let shortest = shortest.min(longest);
        Self {
            shortest,
            longest,
            next: shortest,
        }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.longest);
        pause
    }

    pub(super) fn reset(&mut self) {
        self.next = self.shortest;
    }
}

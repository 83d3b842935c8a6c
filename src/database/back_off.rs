//! Pauses that grow from one attempt to the next.

use std::time::Duration;

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

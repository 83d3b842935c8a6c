//! What a processor does when its handler fails.

use std::time::Duration;

/// What a processor does when its handler fails, fails again, or panics.
///
/// A database that is not well is not a failure of the handler: where it cannot be reached, holds a lock for long, or ends a
/// statement, the processor [waits](crate::consumer::Consumer::waiting), and the batch is repeated until it succeeds. A statement that takes
/// longer than the lease is ended, too.
///
/// ```
/// use emmett_postgresql::FailurePolicy;
/// use std::time::Duration;
///
/// // Three more times, after 100, 200 and 400 milliseconds; then the event waits, and other streams go on.
/// let patient = FailurePolicy::park().retries(3, Duration::from_millis(100));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct FailurePolicy {
    parks: bool,
    retries: u32,
    first_delay: Duration,
    longest_delay: Duration,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self::stop()
    }
}

impl FailurePolicy {
    /// Stops the processor in front of the event, with an error that names it: all its workers, in all processes. Nothing is
    /// skipped; when it is started again, it goes on with this event. The default.
    pub fn stop() -> Self {
        Self {
            parks: false,
            retries: 0,
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(60),
        }
    }

    /// Parks the event: it and the later ones of its stream wait, while other streams go on. Parked events can be
    /// [replayed or discarded](crate::EventStore::processors).
    pub fn park() -> Self {
        Self {
            parks: true,
            ..Self::stop()
        }
    }

    /// Handles the event again before that, so many times; the pauses begin with `first_delay` and double. Defaults to no
    /// repetition.
    pub fn retries(mut self, times: u32, first_delay: Duration) -> Self {
        self.retries = times;
        self.first_delay = first_delay;
        self
    }

    /// No pause is longer than this. Defaults to a minute.
    pub fn longest_delay(mut self, delay: Duration) -> Self {
        self.longest_delay = delay;
        self
    }

    /// How long to wait after so many failed attempts; `None` when there is no further one.
    pub(super) fn delay(&self, failed: u32) -> Option<Duration> {
        if failed > self.retries {
            return None;
        }
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        Some(
            self.first_delay
                .saturating_mul(doubled)
                .min(self.longest_delay),
        )
    }

    pub(super) fn parks(&self) -> bool {
        self.parks
    }
}

#[cfg(test)]
mod tests {
    use super::FailurePolicy;
    use std::time::Duration;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = FailurePolicy::park()
            .retries(4, Duration::from_secs(1))
            .longest_delay(Duration::from_secs(3));
        let delays: Vec<_> = (1..=5).map(|failed| policy.delay(failed)).collect();
        let seconds = [Some(1), Some(2), Some(3), Some(3), None];
        assert_eq!(delays, seconds.map(|delay| delay.map(Duration::from_secs)));
        assert_eq!(FailurePolicy::stop().delay(1), None);
    }
}

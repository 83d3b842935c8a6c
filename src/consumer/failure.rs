//! The policy for failures of a handler.

use std::time::Duration;

/// Policy for a handler that fails, fails again, or panics.
///
/// A database error is not a failure of the handler. If the database is unreachable, holds a lock for too long, or
/// cancels a statement, the processor [waits](crate::consumer::Consumer::waiting). It retries the batch until it
/// succeeds. Statements that take longer than the lease are cancelled, too.
///
/// ```
/// use emmett_postgresql::FailurePolicy;
/// use std::time::Duration;
///
/// // Three retries, after 100, 200 and 400 milliseconds. Then the event is parked, and other streams continue.
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
    /// Stops the processor before the event, in all processes, with an error that names the event. Nothing is
    /// skipped: a restarted processor resumes with this event. This is the default.
    pub fn stop() -> Self {
        Self {
            parks: false,
            retries: 0,
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(60),
        }
    }

    /// Parks the event. Later events of its stream wait for it, and other streams continue. Parked events can be
    /// [replayed or discarded](crate::EventStore::processors).
    pub fn park() -> Self {
        Self {
            parks: true,
            ..Self::stop()
        }
    }

    /// Maximum number of retries before the policy applies. The first retry follows after `first_delay`, and each
    /// further delay is twice as long. Defaults to no retries.
    pub fn retries(mut self, times: u32, first_delay: Duration) -> Self {
        self.retries = times;
        self.first_delay = first_delay;
        self
    }

    /// Maximum delay between retries. Defaults to one minute.
    pub fn longest_delay(mut self, delay: Duration) -> Self {
        self.longest_delay = delay;
        self
    }

    /// Returns the delay after so many failed attempts, or `None` after the last one.
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

//! Retries after failures that may be temporary.
//!
//! Waits that a stop or the end of the store interrupts are elsewhere: they block on a channel, with a
//! [`BackOff`](super::back_off::BackOff).

use super::back_off::{BackOff, pause};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Number of retries, and the pauses between them.
#[derive(Debug, Clone)]
pub(crate) struct RetryPolicy {
    /// `None` retries without end.
    retries: Option<u32>,
    deadline: Option<Instant>,
    /// The shortest and the longest pause; `None` retries at once.
    pauses: Option<(Duration, Duration)>,
    retries_without_pause: u32,
    has_jitter: bool,
}

impl RetryPolicy {
    /// Retries this many times, without pauses.
    pub(crate) const fn times(retries: u32) -> Self {
        Self {
            retries: Some(retries),
            ..Self::without_end()
        }
    }

    /// Retries until success, without pauses.
    pub(crate) const fn without_end() -> Self {
        Self {
            retries: None,
            deadline: None,
            pauses: None,
            retries_without_pause: 0,
            has_jitter: false,
        }
    }

    /// Pauses before each retry, twice as long each time.
    pub(crate) const fn pausing(mut self, shortest: Duration, longest: Duration) -> Self {
        self.pauses = Some((shortest, longest));
        self
    }

    /// Makes the first retries without a pause.
    pub(crate) const fn pausing_after(mut self, retries: u32) -> Self {
        self.retries_without_pause = retries;
        self
    }

    /// Shortens each pause by a random part of up to a half, so that competing callers do not meet again.
    pub(crate) const fn with_jitter(mut self) -> Self {
        self.has_jitter = true;
        self
    }

    /// Stops retrying after this time.
    pub(crate) const fn until(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    fn is_over(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Counted from 0.
    pub(crate) number: u32,
    /// Whether this is the last retry by number. The deadline is not considered.
    pub(crate) is_last: bool,
}

/// Runs attempts until an outcome needs no retry, or the policy allows none. Returns the last outcome.
pub(crate) fn retry<R>(
    policy: &RetryPolicy,
    mut attempt: impl FnMut(Attempt) -> R,
    mut is_repeated: impl FnMut(&R) -> bool,
) -> R {
    let mut pauses = policy
        .pauses
        .map(|(shortest, longest)| BackOff::new(shortest, longest));
    let mut number = 0;
    loop {
        let is_last = policy.retries == Some(number);
        let outcome = attempt(Attempt { number, is_last });
        if is_last || !is_repeated(&outcome) || policy.is_over() {
            return outcome;
        }
        if let Some(pauses) = &mut pauses
            && number >= policy.retries_without_pause
        {
            let next = pauses.next();
            pause(if policy.has_jitter {
                jittered(next)
            } else {
                next
            });
        }
        number = number.saturating_add(1);
    }
}

/// Returns between a half and the whole of a pause. The keys of a hasher are random.
fn jittered(pause: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(0_u8) & 0xff).unwrap_or(0);
    pause / 2 + pause / 2 * random / 0xff
}

#[cfg(test)]
mod tests {
    use super::{Attempt, RetryPolicy, jittered, retry};
    use std::time::{Duration, Instant};

    fn attempts(policy: &RetryPolicy, repeat: impl FnMut(&u32) -> bool) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        let run = |attempt: Attempt| {
            attempts.push(attempt);
            attempt.number
        };
        retry(policy, run, repeat);
        attempts
    }

    #[test]
    fn the_last_attempt_knows_that_it_is_the_last() {
        let made = attempts(&RetryPolicy::times(2), |_| true);
        let last: Vec<bool> = made.iter().map(|attempt| attempt.is_last).collect();
        assert_eq!(last, [false, false, true]);
    }

    #[test]
    fn nobody_is_asked_after_the_last_attempt() {
        let mut asked = 0;
        attempts(&RetryPolicy::times(2), |_| {
            asked += 1;
            true
        });
        assert_eq!(asked, 2);
    }

    #[test]
    fn without_an_end_it_goes_on_until_it_succeeds() {
        let made = attempts(&RetryPolicy::without_end(), |number| *number < 100);
        assert_eq!(made.len(), 101);
        assert!(made.iter().all(|attempt| !attempt.is_last));
    }

    #[test]
    fn jitter_leaves_at_least_half_of_a_pause_and_differs() {
        let whole = Duration::from_millis(100);
        let pauses: Vec<Duration> = (0..100).map(|_| jittered(whole)).collect();
        assert!(
            pauses
                .iter()
                .all(|pause| *pause >= whole / 2 && *pause <= whole)
        );
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }

    #[test]
    fn after_the_deadline_nothing_is_repeated() {
        let policy = RetryPolicy::without_end().until(Instant::now());
        assert_eq!(attempts(&policy, |_| true).len(), 1);
    }

    #[test]
    fn pauses_begin_after_the_retries_that_come_at_once() {
        let pause = Duration::from_millis(20);
        let policy = RetryPolicy::times(3).pausing(pause, pause).pausing_after(2);
        let started = Instant::now();
        attempts(&policy, |number| *number < 2);
        let at_once = started.elapsed();
        attempts(&policy, |_| true);
        assert!(started.elapsed() >= at_once + pause);
    }
}

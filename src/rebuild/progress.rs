//! How far a rebuild is.

use std::time::{Duration, Instant};

/// How far a rebuild is.
///
/// ```
/// use emmett_postgresql::rebuild::RebuildProgress;
/// fn line(progress: RebuildProgress) -> String {
///     format!("{} events, {:.0} a second, {:?} left", progress.handled, progress.per_second, progress.left)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RebuildProgress {
    /// How many messages the projection has been given. Some may still be at work.
    pub handled: u64,
    /// The global position that it has come to.
    pub position: u64,
    /// The last global position that any append had drawn when the rebuild looked last.
    pub head: u64,
    /// How many messages it was given in a second, so far.
    pub per_second: f64,
    /// How long it will take to the head at this speed; `None` while that is not known.
    pub left: Option<Duration>,
}

/// What a rebuild has done.
///
/// ```no_run
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
/// let report = store.rebuild("cart_summaries").run()?;
/// println!("{} events in {:?}; appends waited {:?}", report.handled, report.took, report.locked);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuildReport {
    /// How many messages the projection was given.
    pub handled: u64,
    /// The global position up to which the new read model has everything.
    pub position: u64,
    /// How long it took.
    pub took: Duration,
    /// How long the switch took: appends with inline projections, or the projection's workers, waited no longer.
    pub locked: Duration,
    /// The collections that [keep](crate::rebuild::Rebuild::keep_old) the documents of before.
    pub kept: Vec<String>,
}

pub(super) struct Progress<'s> {
    pub(super) handled: u64,
    pub(super) position: u64,
    pub(super) head: u64,
    pub(super) started: Instant,
    recorded: Instant,
    report: Box<dyn FnMut(RebuildProgress) + 's>,
}

/// How often the position is written into the database, for others to see.
const RECORDING: Duration = Duration::from_secs(1);

impl<'s> Progress<'s> {
    pub(super) fn new(report: Box<dyn FnMut(RebuildProgress) + 's>) -> Self {
        Self {
            handled: 0,
            position: 0,
            head: 0,
            started: Instant::now(),
            recorded: Instant::now(),
            report,
        }
    }

    /// So many messages more, up to this position.
    pub(super) fn advance(&mut self, messages: usize, position: u64) {
        self.handled += messages as u64;
        self.position = position;
        self.head = self.head.max(position);
        let took = self.started.elapsed();
        (self.report)(RebuildProgress {
            handled: self.handled,
            position: self.position,
            head: self.head,
            per_second: rate(self.handled, took),
            left: time_left(self.position, self.head, took),
        });
    }

    /// Whether it is time to tell others.
    pub(super) fn has_to_be_recorded(&mut self) -> bool {
        let due = self.recorded.elapsed() >= RECORDING;
        if due {
            self.recorded = Instant::now();
        }
        due
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "rates and times to go are estimates"
)]
fn rate(handled: u64, took: Duration) -> f64 {
    handled as f64 / took.as_secs_f64().max(1e-6)
}

/// By positions, not messages: how many of them the projection handles is not known beforehand.
#[allow(
    clippy::cast_precision_loss,
    reason = "rates and times to go are estimates"
)]
fn time_left(position: u64, head: u64, took: Duration) -> Option<Duration> {
    let share = head.saturating_sub(position) as f64 / position as f64;
    Duration::try_from_secs_f64(took.as_secs_f64() * share).ok()
}

#[cfg(test)]
mod tests {
    use super::{rate, time_left};
    use std::time::Duration;

    #[test]
    fn the_time_left_follows_from_the_speed_so_far() {
        let ten = Duration::from_secs(10);
        assert_eq!(time_left(250, 1_000, ten), Some(Duration::from_secs(30)));
        assert_eq!(time_left(1_000, 1_000, ten), Some(Duration::ZERO));
        assert_eq!(time_left(0, 1_000, ten), None);
        assert_eq!(time_left(0, 0, ten), None);
        assert!((rate(50, ten) - 5.0).abs() < 1e-9);
        assert!(rate(1, Duration::ZERO).is_finite());
    }
}

//! Progress and result of a rebuild.

use std::time::{Duration, Instant};

/// Progress of a rebuild.
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
    /// Number of messages that were given to the projection. Workers may still be handling some of them.
    pub handled: u64,
    /// Global position that the rebuild has reached.
    pub position: u64,
    /// Last global position that any append had drawn when the rebuild last asked.
    pub head: u64,
    /// Messages per second, on average.
    pub per_second: f64,
    /// Estimated time to the head at this speed; `None` if it is unknown.
    pub left: Option<Duration>,
}

/// Result of a rebuild.
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
    /// Number of messages that were given to the projection.
    pub handled: u64,
    /// Global position up to which the new read model is complete.
    pub position: u64,
    /// Duration of the rebuild.
    pub took: Duration,
    /// Duration of the switch: the longest wait of appends with inline projections, or of the projection's workers.
    pub locked: Duration,
    /// Collections that [keep](crate::rebuild::Rebuild::keep_old) the replaced documents.
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

/// Interval between updates of the position in the database.
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

    /// Adds handled messages, up to a position.
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

    /// Returns whether the progress is due to be recorded in the database.
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

/// Estimates by positions, because the number of remaining messages is unknown.
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

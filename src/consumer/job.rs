//! Batch jobs: consumers that end by themselves.

use super::rebuilding;
use super::running::{Consumer, WorkerEnded};
use super::shared::Shared;
use super::worker::Ended;
use crate::error::{Error, ProcessorError, ProcessorRun, Result, RunEnd, RunReport};
use crate::slots::{ProcessorKey, parking};
use crossbeam_channel::{Receiver, bounded, select};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The end of a run. A [`StopHandle`](crate::consumer::StopHandle), a failure, or the `stop_after` conditions of all
/// processors can end it earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunUntil {
    /// A batch job: ends when everything is handled that was in the store at its start. It also carries out open
    /// requests for replays, discards and rebuilds.
    CaughtUp,
    /// Ends when everything up to a global position is handled. Later messages are not handled, except requested
    /// replays of parked ones.
    Position(u64),
    /// Ends when the time has passed. Running batches are finished first.
    Elapsed(Duration),
    /// A service: has no end of its own.
    Stopped,
}

/// Progress of a run.
#[cfg_attr(
    not(feature = "job"),
    expect(dead_code, reason = "only `run_main` shows it")
)]
pub(super) struct RunProgress {
    /// Number of messages that all processors together have handled.
    pub(super) handled: u64,
    /// Lowest checkpoint of the processors.
    pub(super) position: u64,
    /// Position at which the run ends; `None` for a run with a time limit.
    pub(super) target: Option<u64>,
}

/// Interval between reads of the checkpoints, in a run without a target position.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Interval between checks for the end of a run.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) fn run(
    shared: &Arc<Shared>,
    slots: &[u32],
    until: RunUntil,
    target: Option<u64>,
    on_progress: &mut dyn FnMut(RunProgress),
) -> Result<RunReport> {
    let start = Instant::now();
    if until != RunUntil::Stopped {
        refuse_others(shared)?;
    }
    let consumer = Consumer::start(shared, slots)?;
    let mut watch = Watch::new(shared, consumer.endings(), until, target, start);
    let end = watch.wait_for_end(on_progress);
    let seen = watch.positions;
    let stopped = consumer.stop();
    let end = end.and_then(|end| stopped.map(|()| end));
    // Count only now: a worker counts a batch after its commit, and all workers have ended.
    let mut report = RunReport {
        end: RunEnd::Failed,
        processors: handled(shared, &seen),
        duration: start.elapsed(),
    };
    let end = end.and_then(|end| {
        read_positions(shared, &mut report)?;
        Ok(end)
    });
    match end {
        Ok(end) => Ok(RunReport { end, ..report }),
        Err(source) => Err(job_failed(shared, report, source)),
    }
}

fn job_failed(shared: &Shared, mut report: RunReport, source: Error) -> Error {
    // If the database is unreachable, the report keeps the positions that were read last.
    let _ = read_positions(shared, &mut report);
    Error::Processor(ProcessorError::JobFailed {
        report: Box::new(report),
        source: source.into(),
    })
}

/// Returns the consumer's processors, without duplicates.
fn keys(shared: &Shared) -> Vec<ProcessorKey<'_>> {
    shared
        .mailboxes
        .iter()
        .filter(|mailbox| mailbox.worker == 0)
        .map(|mailbox| shared.key(&mailbox.processor))
        .collect()
}

fn handled(shared: &Shared, positions: &[u64]) -> Vec<ProcessorRun> {
    let run = |(key, position): (&ProcessorKey<'_>, &u64)| {
        ProcessorRun::new(key.name, shared.handled(key.name), *position)
    };
    keys(shared).iter().zip(positions).map(run).collect()
}

fn read_positions(shared: &Shared, report: &mut RunReport) -> Result<()> {
    for (key, processor) in keys(shared).iter().zip(&mut report.processors) {
        processor.position = shared.run(|sql| key.reached(sql))?;
    }
    Ok(())
}

/// Fails if another process runs one of the processors. A crashed process still holds its leases. Renewal or expiry of
/// the leases shows whether it is alive.
fn refuse_others(shared: &Shared) -> Result<()> {
    for key in keys(shared) {
        let mut first_seen = None;
        while let Some((owner, until)) = shared.run(|sql| key.other_owner(sql, &shared.owner))? {
            let (known_owner, known_until) = first_seen.get_or_insert((owner.clone(), until));
            let is_alive = *known_owner != owner || until > *known_until;
            if is_alive {
                return Err(Error::Processor(ProcessorError::Busy {
                    processor: key.name.to_owned(),
                    owner,
                }));
            }
            if shared.stop.is_stopped() {
                return Ok(());
            }
            shared.stop.pause(LOOK_EVERY);
        }
    }
    Ok(())
}

/// Returns whether the processor may still have to handle events that older code has passed over.
fn is_undecided(shared: &Shared, key: &ProcessorKey<'_>) -> Result<bool> {
    let mut mailboxes = shared.mailboxes.iter();
    let Some(mailbox) = mailboxes.find(|mailbox| mailbox.processor.name == key.name) else {
        return Ok(false);
    };
    shared.run(|sql| key.is_undecided(sql, &mailbox.processor.handled))
}

/// Waits for the end of a run, a failure, or a signal.
struct Watch<'s> {
    shared: &'s Arc<Shared>,
    endings: &'s Receiver<WorkerEnded>,
    stopped: Receiver<()>,
    until: RunUntil,
    target: Option<u64>,
    start: Instant,
    keys: Vec<ProcessorKey<'s>>,
    /// Time at which the checkpoints were last read.
    read_at: Instant,
    /// Checkpoints of the processors, as last read.
    positions: Vec<u64>,
    /// Processors whose `stop_after` condition was not met yet.
    open: HashSet<&'s str>,
}

impl<'s> Watch<'s> {
    fn new(
        shared: &'s Arc<Shared>,
        endings: &'s Receiver<WorkerEnded>,
        until: RunUntil,
        target: Option<u64>,
        start: Instant,
    ) -> Self {
        let (bell, stopped) = bounded(1);
        shared.stop.notify(bell);
        let keys = keys(shared);
        Self {
            shared,
            endings,
            stopped,
            until,
            target,
            start,
            read_at: start,
            positions: vec![0; keys.len()],
            open: keys.iter().map(|key| key.name).collect(),
            keys,
        }
    }

    fn wait_for_end(&mut self, on_progress: &mut dyn FnMut(RunProgress)) -> Result<RunEnd> {
        loop {
            match self.look() {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => on_progress(self.progress()),
                // The database may come back; otherwise the workers give up.
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(error),
            }
            if let Some(end) = self.listen()? {
                return Ok(end);
            }
        }
    }

    fn progress(&self) -> RunProgress {
        let names = self.keys.iter().map(|key| key.name);
        RunProgress {
            handled: names.map(|name| self.shared.handled(name)).sum(),
            position: self.positions.iter().copied().min().unwrap_or(0),
            target: self.target,
        }
    }

    /// Returns the reason to end, if the run has reached its end.
    fn look(&mut self) -> Result<Option<RunEnd>> {
        if let RunUntil::Elapsed(time) = self.until
            && self.start.elapsed() >= time
        {
            return Ok(Some(RunEnd::TimeUp));
        }
        if self.target.is_none() && self.read_at.elapsed() < READ_EVERY {
            return Ok(None);
        }
        self.read_at = Instant::now();
        for (key, position) in self.keys.iter().zip(&mut self.positions) {
            *position = self.shared.run(|sql| key.reached(sql))?;
        }
        let Some(target) = self.target else {
            return Ok(None);
        };
        Ok(self.has_reached(target)?.then_some(match self.until {
            _ if self.open.is_empty() => RunEnd::ConditionMet,
            RunUntil::CaughtUp => RunEnd::CaughtUp,
            _ => RunEnd::PositionReached,
        }))
    }

    fn has_reached(&self, target: u64) -> Result<bool> {
        for (key, position) in self.keys.iter().zip(&self.positions) {
            if !self.open.contains(key.name) {
                continue;
            }
            if *position < target || is_undecided(self.shared, key)? || self.has_requests(key)? {
                return Ok(false);
            }
        }
        // An operator's request may have waited for this job.
        rebuilding::begin(self.shared).map(|is_rebuilding| !is_rebuilding)
    }

    /// Returns whether the processor's workers have open requests to carry out, and wakes them if so.
    fn has_requests(&self, key: &ProcessorKey<'_>) -> Result<bool> {
        let has_requests = self.shared.run(|sql| parking::has_requests(sql, *key))?;
        if has_requests {
            let mailboxes = self.shared.mailboxes.iter();
            mailboxes
                .filter(|mailbox| mailbox.processor.name == key.name)
                .for_each(|mailbox| mailbox.ring(&mailbox.requested));
        }
        Ok(has_requests)
    }

    /// Waits for a signal, the end of a worker, or the next check.
    fn listen(&mut self) -> Result<Option<RunEnd>> {
        select! {
            recv(self.stopped) -> _ => Ok(Some(RunEnd::Stopped)),
            recv(self.endings) -> ended => match ended {
                Ok(WorkerEnded { ended: Ended::Failed(error), .. }) => Err(error),
                Ok(WorkerEnded { ended: Ended::Condition, processor }) => {
                    self.open.remove(&*processor);
                    Ok(self.open.is_empty().then_some(RunEnd::ConditionMet))
                }
                Ok(WorkerEnded { ended: Ended::Stopped, .. }) => Ok(None),
                Err(_) => Ok(Some(RunEnd::Stopped)),
            },
            default(LOOK_EVERY) => Ok(None),
        }
    }
}

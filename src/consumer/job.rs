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

/// What ends a run, besides a [`StopHandle`](crate::consumer::StopHandle), a failure, and the conditions of its processors to stop after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunUntil {
    /// Everything was handled that is in the store when the run begins: a batch job. Replays, discards and rebuilds that were
    /// asked for are carried out, too.
    CaughtUp,
    /// Everything up to a global position was handled; nothing after it is, but for parked messages whose replay was asked for.
    Position(u64),
    /// The time is up. Batches in hand are finished.
    Elapsed(Duration),
    /// Nothing else: a service.
    Stopped,
}

/// How far a run is.
#[cfg_attr(
    not(feature = "job"),
    expect(dead_code, reason = "only `run_main` shows it")
)]
pub(super) struct RunProgress {
    /// How many messages were handled by all processors together.
    pub(super) handled: u64,
    /// The lowest checkpoint.
    pub(super) position: u64,
    /// Up to where the run goes; `None` for one that runs for a time.
    pub(super) target: Option<u64>,
}

/// How often a run without a position to reach reads the checkpoints.
const READ_EVERY: Duration = Duration::from_secs(1);

/// How often a run looks whether it has come to its end.
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
    // Only now: a worker counts a batch after its commit, and all of them have ended.
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
    // Where the database is gone, the report has what was seen last.
    let _ = read_positions(shared, &mut report);
    Error::Processor(ProcessorError::JobFailed {
        report: Box::new(report),
        source: source.into(),
    })
}

/// The consumer's processors, each once.
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

/// Fails where another process runs one of the processors. One that has died still holds its leases; whether it is alive
/// shows when they are renewed, or run out.
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

/// Whether the processor may still have to handle what older code has passed over.
fn is_undecided(shared: &Shared, key: &ProcessorKey<'_>) -> Result<bool> {
    let mut mailboxes = shared.mailboxes.iter();
    let Some(mailbox) = mailboxes.find(|mailbox| mailbox.processor.name == key.name) else {
        return Ok(false);
    };
    shared.run(|sql| key.is_undecided(sql, &mailbox.processor.handled))
}

/// Waits for the goal, a failure, or a signal.
struct Watch<'s> {
    shared: &'s Arc<Shared>,
    endings: &'s Receiver<WorkerEnded>,
    stopped: Receiver<()>,
    until: RunUntil,
    target: Option<u64>,
    start: Instant,
    keys: Vec<ProcessorKey<'s>>,
    /// When the checkpoints were read last.
    read_at: Instant,
    /// The checkpoints of the processors, as they were seen last.
    positions: Vec<u64>,
    /// The processors whose condition to stop after was not met yet.
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
                // A database that is away comes back, or the workers give up.
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

    /// Whether the goal is reached.
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

    /// Whether somebody has asked for what the processor's workers still have to carry out; they are told so at once.
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

    /// Waits for a signal, the end of a worker, or the time to look again.
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

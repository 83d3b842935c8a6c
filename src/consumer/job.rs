//! Batch jobs: consumers that end by themselves.

use super::running::{Consumer, WorkerEnded};
use super::shared::Shared;
use super::worker::Ended;
use crate::error::{Error, ProcessorError, Result};
use crate::slots::ProcessorKey;
use crossbeam_channel::{bounded, select};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    Head,
    Position(u64),
    Time(Duration),
}

/// Why a run has ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunEnd {
    /// Everything was handled that was in the store when the run began.
    CaughtUp,
    /// Everything up to the position was handled.
    PositionReached,
    /// The time is up.
    TimeUp,
    /// A [`StopHandle`](crate::StopHandle) was used.
    Stopped,
    /// Messages met the conditions of all processors to stop after.
    ConditionMet,
    /// A processor failed.
    Failed(Error),
}

/// What a run has done.
#[derive(Debug)]
#[non_exhaustive]
pub struct RunReport {
    /// Why it ended.
    pub end: RunEnd,
    /// What each processor has done.
    pub processors: Vec<ProcessorRun>,
    /// How long it took.
    pub duration: Duration,
}

impl RunReport {
    /// How many messages were handled by all processors together.
    pub fn handled(&self) -> u64 {
        self.processors
            .iter()
            .map(|processor| processor.handled)
            .sum()
    }

    /// The error of a run that failed, as `Err`.
    ///
    /// # Errors
    /// That error.
    pub fn into_result(self) -> Result<Self> {
        match self.end {
            RunEnd::Failed(error) => Err(error),
            _ => Ok(self),
        }
    }
}

/// What a processor has done in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessorRun {
    /// Its name.
    pub name: String,
    /// How many messages it has handled in this run.
    pub handled: u64,
    /// Where it is now.
    pub position: u64,
}

/// How often a run looks whether it has come to its end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) fn run(
    shared: &Arc<Shared>,
    slots: &[u32],
    goal: Goal,
    target: Option<u64>,
) -> Result<RunReport> {
    let start = Instant::now();
    refuse_others(shared)?;
    let consumer = Consumer::start(shared, slots)?;
    let end = watch(&consumer, goal, target, start);
    let counts: Vec<(String, u64)> = keys(shared)
        .iter()
        .map(|key| (key.name.to_owned(), consumer.handled(key.name)))
        .collect();
    let stopped = consumer.stop();
    let end = match (end?, stopped) {
        (_, Err(error)) => RunEnd::Failed(error),
        (end, Ok(())) => end,
    };
    let mut processors = Vec::new();
    for (key, (name, handled)) in keys(shared).iter().zip(counts) {
        processors.push(ProcessorRun {
            name,
            handled,
            position: shared.run(|sql| key.reached(sql))?,
        });
    }
    Ok(RunReport {
        end,
        processors,
        duration: start.elapsed(),
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
fn watch(consumer: &Consumer, goal: Goal, target: Option<u64>, start: Instant) -> Result<RunEnd> {
    let shared = &consumer.shared;
    let (bell, stopped) = bounded(1);
    shared.stop.notify(bell);
    let keys = keys(shared);
    let mut open: HashSet<&str> = keys.iter().map(|key| key.name).collect();
    loop {
        if let Goal::Time(time) = goal
            && start.elapsed() >= time
        {
            return Ok(RunEnd::TimeUp);
        }
        if let Some(target) = target {
            let reached = |key: &ProcessorKey<'_>| -> Result<bool> {
                if !open.contains(key.name) {
                    return Ok(true);
                }
                Ok(shared.run(|sql| key.reached(sql))? >= target && !is_undecided(shared, key)?)
            };
            match keys
                .iter()
                .try_fold(true, |all, key| Ok(all && reached(key)?))
            {
                Ok(true) if open.is_empty() => return Ok(RunEnd::ConditionMet),
                Ok(true) if matches!(goal, Goal::Head) => return Ok(RunEnd::CaughtUp),
                Ok(true) => return Ok(RunEnd::PositionReached),
                // A database that is away comes back, or the workers give up.
                Err(error) if !Error::is_retryable(&error) => return Err(error),
                _ => {}
            }
        }
        select! {
            recv(stopped) -> _ => return Ok(RunEnd::Stopped),
            recv(consumer.endings()) -> ended => match ended {
                Ok(WorkerEnded { ended: Ended::Failed(error), .. }) => return Ok(RunEnd::Failed(error)),
                Ok(WorkerEnded { ended: Ended::Condition, processor }) => {
                    open.retain(|name| *name != processor);
                    if open.is_empty() {
                        return Ok(RunEnd::ConditionMet);
                    }
                }
                Ok(WorkerEnded { ended: Ended::Stopped, .. }) => {}
                Err(_) => return Ok(RunEnd::Stopped),
            },
            default(LOOK_EVERY) => {}
        }
    }
}

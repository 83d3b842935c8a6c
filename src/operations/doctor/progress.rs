//! Processors without progress.

use super::finding::{Finding, FindingKind, Severity};
use crate::error::{Result, counted};
use crate::operations::processors::Processors;
use crate::slots::{ProcessorState, ProcessorStatus};

/// Runs the checks. `horizon` is the position up to which the feed can be read.
pub(super) fn examine(processors: &Processors, horizon: Option<u64>) -> Result<Vec<Finding>> {
    let processors = processors.list()?;
    let findings = |processor| findings(processor, horizon);
    Ok(processors.iter().flat_map(findings).collect())
}

fn findings(processor: &ProcessorStatus, horizon: Option<u64>) -> Vec<Finding> {
    let mut findings = Vec::new();
    match ahead(processor) {
        Some(ahead) => findings.push(ahead),
        None => findings.extend(failed(processor)),
    }
    findings.extend(expired(processor));
    findings.extend(hanging(processor));
    findings.extend(repeating(processor));
    findings.extend(standing_still(processor, horizon));
    findings.extend(parked(processor));
    findings
}

fn title(processor: &ProcessorStatus) -> String {
    format!(
        "Processor \"{}\" (version {})",
        processor.name, processor.version
    )
}

fn failed(processor: &ProcessorStatus) -> Option<Finding> {
    let slot = processor.slots.iter().find(|slot| slot.failed)?;
    let error = slot.last_error.as_deref().unwrap_or("no error was noted");
    Some(Finding::new(
        FindingKind::ProcessorFailed,
        Severity::Serious,
        format!(
            "{} has failed at position {}: {error}",
            title(processor),
            slot.position
        ),
        "Fix the cause, then start its program again.",
    ))
}

fn ahead(processor: &ProcessorStatus) -> Option<Finding> {
    let reach = processor.reach();
    let (problem, advice) = if reach.furthest > reach.head {
        (
            format!("but the last drawn position is {}", reach.head),
            "Was the database restored? Repair the sequence first, then reset the processor.",
        )
    } else if reach.epoch < reach.store_epoch {
        (
            format!(
                "of epoch {}, but the store is at epoch {}: positions may have been drawn again",
                reach.epoch, reach.store_epoch
            ),
            "Reset it: to its own position if it was restored together with the events, or to the last position before the \
             restore.",
        )
    } else {
        return None;
    };
    Some(Finding::new(
        FindingKind::ProcessorAhead,
        Severity::Serious,
        format!(
            "{} is at position {}, {problem}: it would skip events.",
            title(processor),
            reach.furthest
        ),
        advice,
    ))
}

fn expired(processor: &ProcessorStatus) -> Option<Finding> {
    let expired: Vec<_> = processor
        .slots
        .iter()
        .filter_map(|slot| slot.holder.as_ref())
        .filter(|holder| holder.lease_left.is_none())
        .collect();
    let first = expired.first()?;
    Some(Finding::new(
        FindingKind::LeaseExpired,
        Severity::Warning,
        format!(
            "{}: \"{}\" has not renewed its lease, and no other worker has taken over {} of {}.",
            title(processor),
            first.owner,
            expired.len(),
            counted(processor.slots.len(), "slot")
        ),
        "The next worker that runs the processor takes over. Check whether its program is still running.",
    ))
}

fn hanging(processor: &ProcessorStatus) -> Option<Finding> {
    let slot = processor.slots.iter().find(|slot| slot.hangs())?;
    let seconds = slot.busy_for.unwrap_or_default().as_secs();
    Some(Finding::new(
        FindingKind::HandlerHangs,
        Severity::Warning,
        format!(
            "{}: its handler has been running for {seconds} s, with messages after position {}.",
            title(processor),
            slot.position
        ),
        "Check what the handler waits for. Its lease is renewed as long as its program runs.",
    ))
}

fn repeating(processor: &ProcessorStatus) -> Option<Finding> {
    let goes_on = [ProcessorState::Repeating, ProcessorState::Waiting];
    if !goes_on.contains(&processor.state) {
        return None;
    }
    let slot = processor.slots.iter().find(|slot| slot.repeats())?;
    let survived = slot.survived.as_ref()?;
    Some(Finding::new(
        FindingKind::ProcessorRepeats,
        Severity::Warning,
        format!(
            "{} keeps failing after position {}, {} so far: {}",
            title(processor),
            slot.position,
            counted(survived.times, "time"),
            survived.error
        ),
        "Fix the cause: the processor then continues by itself.",
    ))
}

/// Reports no processor at the horizon. An open append holds it back, which is a finding of its own.
fn standing_still(processor: &ProcessorStatus, horizon: Option<u64>) -> Option<Finding> {
    let is_held = horizon.is_some_and(|horizon| processor.position >= horizon);
    let stands_still = processor.state == ProcessorState::StandingStill;
    (stands_still && !is_held).then(|| {
        Finding::new(
            FindingKind::ProcessorStandsStill,
            Severity::Warning,
            format!(
                "{} stands still at position {}; its lag is {}.",
                title(processor),
                processor.position,
                counted(processor.lag, "message")
            ),
            "Check whether its program gets database connections. Restart it if it does not continue.",
        )
    })
}

fn parked(processor: &ProcessorStatus) -> Option<Finding> {
    let (parked, waiting) = (processor.parked, processor.waiting);
    (parked + waiting > 0).then(|| {
        Finding::new(
            FindingKind::ParkedMessages,
            Severity::Warning,
            format!(
                "{} has parked {} that it could not handle, and {} of the same streams.",
                title(processor),
                counted(parked, "message"),
                counted(waiting, "later message")
            ),
            "List the reasons with `emmett consumers parked`, then replay or discard the messages.",
        )
    })
}

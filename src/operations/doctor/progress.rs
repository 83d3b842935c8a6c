//! Processors that do not get on.

use super::finding::{Finding, FindingKind, Severity};
use crate::error::Result;
use crate::operations::processors::Processors;
use crate::slots::ProcessorStatus;

pub(super) fn examine(processors: &Processors) -> Result<Vec<Finding>> {
    let processors = processors.list()?;
    Ok(processors.iter().flat_map(findings).collect())
}

fn findings(processor: &ProcessorStatus) -> Vec<Finding> {
    let mut findings = Vec::new();
    match ahead(processor) {
        Some(ahead) => findings.push(ahead),
        None => findings.extend(failed(processor)),
    }
    findings.extend(expired(processor));
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
        "Mend the cause, then start its program again.",
    ))
}

fn ahead(processor: &ProcessorStatus) -> Option<Finding> {
    let reach = processor.reach();
    let (problem, advice) = if reach.furthest > reach.head {
        (
            format!("but the last one that was drawn is {}", reach.head),
            "Was the database restored? Mend the sequence first; then reset the processor.",
        )
    } else if reach.epoch < reach.store_epoch {
        (
            format!(
                "of epoch {}, but the store is at epoch {}: positions may have been drawn again",
                reach.epoch, reach.store_epoch
            ),
            "Reset it: to its position if it was restored together with the events, else to the last position of before.",
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
            "{}: \"{}\" has not renewed its lease, and nobody has taken over {} of {} slots.",
            title(processor),
            first.owner,
            expired.len(),
            processor.slots.len()
        ),
        "Whoever runs the processor next takes over by itself; see whether its program still runs.",
    ))
}

fn parked(processor: &ProcessorStatus) -> Option<Finding> {
    let (parked, waiting) = (processor.parked, processor.waiting);
    (parked + waiting > 0).then(|| {
        Finding::new(
            FindingKind::ParkedMessages,
            Severity::Warning,
            format!(
                "{} has parked {parked} messages that it could not handle; {waiting} wait behind them.",
                title(processor)
            ),
            "See why with `emmett consumers parked`; then replay or discard them.",
        )
    })
}

//! Inline projections that are not active.

use super::finding::{Finding, FindingKind, Severity};
use crate::database::Sql;
use crate::error::{Result, counted};
use crate::events::Partition;
use crate::projection::{
    MissedEvents, ProjectionStatus, ProjectionType, RegisteredProjection, registry,
};
use std::time::Duration;

/// A follower normally catches up sooner.
const LONG: Duration = Duration::from_secs(60);

pub(super) fn examine(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Finding>> {
    let projections = registry::list(sql, partition)?;
    let inline = projections
        .iter()
        .filter(|one| one.projection_type == ProjectionType::Inline);
    Ok(inline.filter_map(finding).collect())
}

fn finding(projection: &RegisteredProjection) -> Option<Finding> {
    match projection.status {
        ProjectionStatus::Stale => Some(stale(projection)),
        ProjectionStatus::Building => Some(unbuilt(projection)),
        ProjectionStatus::Orphaned => projection.missed.map(|missed| orphaned(projection, missed)),
        ProjectionStatus::Following => failing(projection).or_else(|| {
            let missed = projection.missed.filter(is_old);
            missed.map(|missed| following(projection, missed))
        }),
        ProjectionStatus::Active | ProjectionStatus::Inactive => None,
    }
}

fn is_old(missed: &MissedEvents) -> bool {
    let age = missed.since.and_then(|since| since.elapsed().ok());
    age.is_some_and(|age| age > LONG)
}

fn title(projection: &RegisteredProjection) -> String {
    format!(
        "The inline projection \"{}\" (version {})",
        projection.name, projection.version
    )
}

fn stale(projection: &RegisteredProjection) -> Finding {
    Finding::new(
        FindingKind::StaleProjection,
        Severity::Serious,
        format!(
            "{} is stale: it has missed events, and appends do not run it.",
            title(projection)
        ),
        "Rebuild it with a program that has it, or remove it with `emmett projections forget`.",
    )
}

fn unbuilt(projection: &RegisteredProjection) -> Finding {
    Finding::new(
        FindingKind::UnbuiltProjection,
        Severity::Warning,
        format!(
            "{} is not built from the stored events yet.",
            title(projection)
        ),
        "If no program is building it, rebuild it with a program that has it, or remove it with `emmett projections forget`.",
    )
}

fn orphaned(projection: &RegisteredProjection, missed: MissedEvents) -> Finding {
    Finding::new(
        FindingKind::OrphanedProjection,
        Severity::Serious,
        format!(
            "{} misses {} from position {} on, and no running program has it to add them.",
            title(projection),
            counted(missed.count, "event"),
            missed.first_position
        ),
        "Start a program that has it, or remove it with `emmett projections forget`.",
    )
}

fn failing(projection: &RegisteredProjection) -> Option<Finding> {
    let failure = projection.failure.as_ref()?;
    Some(Finding::new(
        FindingKind::FailingProjection,
        Severity::Serious,
        format!(
            "{} cannot handle an event that it has missed, at position {}: {}",
            title(projection),
            failure.global_position,
            failure.error
        ),
        "Correct the code of the projection and restart its programs: the event is then retried. Meanwhile, appends do not \
         run the projection.",
    ))
}

fn following(projection: &RegisteredProjection, missed: MissedEvents) -> Finding {
    Finding::new(
        FindingKind::FollowingProjection,
        Severity::Warning,
        format!(
            "{} has missed {} from position {} on for more than a minute.",
            title(projection),
            counted(missed.count, "event"),
            missed.first_position
        ),
        "Programs without the projection keep appending, or the feed is held back.",
    )
}

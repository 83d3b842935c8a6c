//! Timers of workflows that no program fires.

use super::finding::{Finding, FindingKind, Severity};
use crate::database::Sql;
use crate::error::{Result, counted};
use crate::events::Partition;
use crate::workflow::timers::{OverdueTimers, overdue};
use std::time::Duration;

/// Time after which a timer is overdue. A running program fires it within a second.
const OVERDUE_AFTER: Duration = Duration::from_secs(60);

pub(super) fn examine(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Finding>> {
    let overdue = overdue(sql, partition, OVERDUE_AFTER)?;
    Ok(overdue.iter().map(finding).collect())
}

fn finding(overdue: &OverdueTimers) -> Finding {
    let verb = if overdue.timers == 1 { "is" } else { "are" };
    Finding::new(
        FindingKind::OverdueTimers,
        Severity::Warning,
        format!(
            "{} of workflow \"{}\" {verb} overdue, the first one by {} seconds.",
            counted(overdue.timers, "timer"),
            overdue.workflow,
            overdue.late_by.as_secs()
        ),
        "Start a program that runs the workflow, or look with `emmett consumers` why its processor does not run. \
         `emmett timers` lists them.",
    )
}

//! Services with Emmett for Node that use the same store.

use super::finding::{Finding, FindingKind, Severity};
use crate::database::{Sql, schema};
use crate::error::Result;
use crate::events::Partition;
use crate::projection::neighbour as projections;
use crate::slots::neighbour as processors;

pub(super) fn examine(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if schema::is_replaced(sql, partition.schema())? {
        findings.push(Finding::new(
            FindingKind::ReplacedFunctions,
            Severity::Serious,
            "Emmett's migrations have replaced functions of the schema: the processors of Node services do not run.",
            "Run `emmett migrate run`, and open the stores of Node services with autoMigration: 'None'.",
        ));
    }
    let kept = projections::list(sql, partition)?.len();
    let run = processors::ids(sql, partition)?.len();
    if kept + run > 0 {
        findings.push(Finding::new(
            FindingKind::Neighbour,
            Severity::Note,
            format!(
                "Node services have registered projections that no Rust program updates ({kept}), or have run processors \
                 ({run})."
            ),
            "`emmett adopt --plan` lists them, and their names in a Rust program.",
        ));
    }
    Ok(findings)
}

//! `emmett repair` and `emmett restored`.

use super::arguments::{RepairCommand, RestoredArguments};
use super::output::Output;
use crate::operations::SequenceRepair;
use crate::store::EventStore;
use serde_json::json;

pub(super) fn repair(
    command: &RepairCommand,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    match command {
        RepairCommand::Sequence => repair_sequence(&store.repair_sequence()?, output),
    }
}

fn repair_sequence(repair: &SequenceRepair, output: &mut Output) -> anyhow::Result<()> {
    output.object(&json!({
        "found": repair.found,
        "head": repair.head,
        "epoch": repair.epoch,
        "kept": repair.kept,
        "partitions": repair.partitions,
        "repaired": repair.has_repaired(),
    }))?;
    output.text(&lines(repair).join("\n"))
}

fn lines(repair: &SequenceRepair) -> Vec<String> {
    let mut lines = Vec::new();
    if repair.head > repair.found {
        lines.push(format!(
            "set emt_global_message_position from {} to {}",
            repair.found, repair.head
        ));
        lines.push(new_epoch(repair));
    }
    for partition in &repair.partitions {
        lines.push(format!(
            "appends check for the inline projections of \"{partition}\" again: rebuild the stale ones"
        ));
    }
    if lines.is_empty() {
        lines.push("nothing to repair: the sequences match the tables".to_owned());
    }
    lines
}

fn new_epoch(repair: &SequenceRepair) -> String {
    let epoch = repair.epoch;
    if repair.kept == repair.head {
        return format!(
            "the store is at epoch {epoch} now: processors continue, and readers with a position elsewhere detect the epoch"
        );
    }
    format!(
        "positions may have been drawn again meanwhile: the store is at epoch {epoch} now, and processors do not run until \
         they are reset"
    )
}

pub(super) fn restored(
    arguments: &RestoredArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let epoch = match arguments.to {
        Some(position) => store.restored_to(position)?,
        None => store.restored()?,
    };
    output.result(
        &format!("the store is at epoch {epoch} now"),
        &json!({ "epoch": epoch }),
    )
}

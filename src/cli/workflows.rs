//! `emmett workflows` and `emmett timers`.

use super::arguments::{InstanceState, TimersArguments, WorkflowsArguments};
use super::output::Output;
use super::table::{Table, duration, time};
use crate::store::EventStore;
use crate::workflow::{InstanceOptions, TimerOptions, WorkflowState};
use serde_json::json;

pub(super) fn instances(
    arguments: &WorkflowsArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut options = InstanceOptions::new().limit(arguments.limit);
    if let Some(workflow) = &arguments.workflow {
        options = options.workflow(workflow);
    }
    if let Some(state) = arguments.state {
        options = options.state(match state {
            InstanceState::Running => WorkflowState::Running,
            InstanceState::Complete => WorkflowState::Complete,
        });
    }
    let instances = store.workflow_instances(&options)?;
    if instances.is_empty() {
        return output.text("no instances");
    }
    let mut table = Table::new(&[
        "WORKFLOW", "ID", "STATE", "AGE", "IDLE", "MESSAGES", "TIMERS",
    ]);
    for instance in instances {
        output.object(&json!({
            "workflow": instance.workflow,
            "id": instance.id,
            "state": instance.state.to_string(),
            "ageSeconds": instance.age.as_secs_f64(),
            "idleSeconds": instance.idle.as_secs_f64(),
            "messages": instance.messages,
            "timers": instance.timers,
        }))?;
        table.add(vec![
            instance.workflow,
            instance.id,
            instance.state.to_string(),
            duration(instance.age),
            duration(instance.idle),
            instance.messages.to_string(),
            instance.timers.to_string(),
        ]);
    }
    output.text(&table.render())
}

pub(super) fn timers(
    arguments: &TimersArguments,
    store: &EventStore,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut options = TimerOptions::new().limit(arguments.limit);
    if let Some(workflow) = &arguments.workflow {
        options = options.workflow(workflow);
    }
    if let Some(id) = &arguments.id {
        options = options.id(id);
    }
    let timers = store.timers(&options)?;
    if timers.is_empty() {
        return output.text("no timers");
    }
    let mut table = Table::new(&["WORKFLOW", "ID", "TIMER", "INPUT", "DUE", "IN"]);
    for timer in timers {
        output.object(&json!({
            "workflow": timer.workflow,
            "id": timer.id,
            "timer": timer.name,
            "inputType": timer.input_type,
            "dueAt": time(timer.due_at),
            "dueInSeconds": timer.due_in.as_secs_f64(),
            "setAt": time(timer.set_at),
        }))?;
        let due_in = if timer.due_in.is_zero() {
            "due".to_owned()
        } else {
            duration(timer.due_in)
        };
        table.add(vec![
            timer.workflow,
            timer.id,
            timer.name,
            timer.input_type,
            time(timer.due_at),
            due_in,
        ]);
    }
    output.text(&table.render())
}

//! Workflows in child processes.

use super::fixtures::{HALT_AT, checkout};
use crate::support::child_process::ChildProcess;
use emmett_postgresql::EventStore;
use std::io::Read;
use std::time::Duration;

const URL: &str = "EMT_TEST_WORKFLOW_URL";

/// Starts a process that runs the workflow.
pub(crate) fn start(url: &str) -> anyhow::Result<ChildProcess> {
    ChildProcess::start("workflow::child::runs_the_workflow", &[(URL, url)])
}

/// Starts a process that runs the workflow and says so before it decides on this order, and then waits for its end.
pub(crate) fn start_halting(url: &str, order: &str) -> anyhow::Result<ChildProcess> {
    let variables = [(URL, url), (HALT_AT, order)];
    ChildProcess::start("workflow::child::runs_the_workflow", &variables)
}

/// Does nothing unless it is started as a child.
#[test]
fn runs_the_workflow() -> anyhow::Result<()> {
    let Ok(url) = std::env::var(URL) else {
        return Ok(());
    };
    let store = EventStore::open(&url)?;
    let consumer = store
        .consumer()
        .workflow(checkout().workers(2).slots(4))
        .lease(Duration::from_secs(1))
        .batch_size(50)
        .start()?;
    println!("\nstarted");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(consumer.stop()?)
}

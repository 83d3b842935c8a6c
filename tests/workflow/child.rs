//! Workflows in child processes.

use super::fixtures::{HALT_AT, checkout};
use crate::support::child_process::ChildProcess;
use emmett_postgresql::EventStore;
use std::io::Read;
use std::time::Duration;

/// Where Debian's and Fedora's packages have the library.
const FAKETIME: &str =
    "/usr/lib/x86_64-linux-gnu/faketime:/usr/lib/aarch64-linux-gnu/faketime:/usr/lib64/faketime";

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

/// Starts a process that runs the workflow, and whose clock is wrong: `+1h` is an hour fast. Its monotonic clock is right, as
/// after a wrong setting of the clock. Needs libfaketime.
pub(crate) fn start_with_clock(url: &str, wrong_by: &str) -> anyhow::Result<ChildProcess> {
    let variables = [
        (URL, url),
        ("LD_PRELOAD", "libfaketime.so.1"),
        ("LD_LIBRARY_PATH", FAKETIME),
        ("FAKETIME", wrong_by),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
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

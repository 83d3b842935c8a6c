//! The state of requested rebuilds in this process.

use std::collections::HashSet;

/// The state of requested rebuilds, by the names of their projections.
#[derive(Default)]
pub(super) struct RequestedRebuilds {
    running: HashSet<String>,
    /// Rebuilds that another program was running.
    elsewhere: HashSet<String>,
}

impl RequestedRebuilds {
    /// Returns false if the rebuild is already running, here or elsewhere.
    pub(super) fn begin(&mut self, name: &str) -> bool {
        !self.elsewhere.contains(name) && self.running.insert(name.to_owned())
    }

    pub(super) fn end(&mut self, name: &str, was_carried_out: bool) {
        self.running.remove(name);
        if !was_carried_out {
            self.elsewhere.insert(name.to_owned());
        }
    }

    pub(super) fn is_any_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Retries rebuilds that another program was running, because that program may have crashed.
    pub(super) fn forget_elsewhere(&mut self) {
        self.elsewhere.clear();
    }
}

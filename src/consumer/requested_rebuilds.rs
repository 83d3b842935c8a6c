//! What has become of the rebuilds that somebody has asked for.

use std::collections::HashSet;

/// What has become of the rebuilds that were asked for, by the names of their projections.
#[derive(Default)]
pub(super) struct RequestedRebuilds {
    running: HashSet<String>,
    /// Another program was at them.
    elsewhere: HashSet<String>,
}

impl RequestedRebuilds {
    /// False where it runs already, here or elsewhere.
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

    /// Has those tried again that another program was at: it may have died.
    pub(super) fn forget_elsewhere(&mut self) {
        self.elsewhere.clear();
    }
}

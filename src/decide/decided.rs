//! The result of an executed decision.

use super::boundary::Boundary;
use crate::events::Appended;
use std::fmt;

/// Result of an executed decision.
#[non_exhaustive]
pub struct Decided<B: Boundary, R = ()> {
    /// The states of the boundary, including the appended events.
    pub state: B::States,
    /// The versions of the boundary's streams after the append, in the shape of the boundary.
    pub version: B::Versions,
    /// The decision's reply.
    pub reply: R,
    /// One entry per stream that received events, in the order of the decision. Empty if the decision has no events, or if its
    /// key was executed before.
    pub appended: Vec<Appended>,
    /// Whether the command was executed before under its key. The reply is then the stored one; the state is the current one.
    pub was_decided_before: bool,
}

impl<B, R> fmt::Debug for Decided<B, R>
where
    B: Boundary<States: fmt::Debug, Versions: fmt::Debug>,
    R: fmt::Debug,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Decided")
            .field("state", &self.state)
            .field("version", &self.version)
            .field("reply", &self.reply)
            .field("appended", &self.appended)
            .field("was_decided_before", &self.was_decided_before)
            .finish()
    }
}

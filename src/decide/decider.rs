//! Emmett's `Decider`: a state that decides commands.

use super::boundary::{Boundary, Evolve, StreamBoundary};
use super::command::Decide;
use super::decided::Decided;
use super::error::DecideError;
use super::executor::Executor;

/// A state that decides commands: Emmett's `Decider`. [`Decide::command`] executes one.
///
/// A closure does the same without a command type.
pub trait Decider: Evolve {
    /// The command type.
    type Command;
    /// The reason for which a command is refused.
    type Error;

    /// Returns the events that follow from the command, or none if nothing changes.
    ///
    /// # Errors
    /// The domain's refusal.
    fn decide(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Error>;
}

impl<X: Executor, D: Decider + 'static> Decide<X, StreamBoundary<D>>
where
    StreamBoundary<D>: for<'a> Boundary<View<'a> = &'a D>,
{
    /// Executes a command: [`run`](Decide::run) with [`Decider::decide`] as the closure.
    ///
    /// # Errors
    /// Those of [`run`](Decide::run).
    pub fn command(
        self,
        command: &D::Command,
    ) -> Result<Decided<StreamBoundary<D>>, DecideError<D::Error>> {
        self.run(|state: &D| state.decide(command))
    }
}

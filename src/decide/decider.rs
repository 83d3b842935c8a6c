//! Emmett's word for a state and what is decided on it.

use super::boundary::{Boundary, Evolve, StreamBoundary};
use super::command::{Decide, Decided};
use super::error::DecideError;
use super::executor::Executor;

/// A state whose decisions are commands: Emmett's `Decider`. [`Decide::command`] carries one out.
///
/// A closure does the same without a type for commands.
pub trait Decider: Evolve {
    /// The commands.
    type Command;
    /// Why a command is refused.
    type Error;

    /// Returns the events that follow from the command; none where nothing has to change.
    ///
    /// # Errors
    /// The domain's refusal.
    fn decide(&self, command: &Self::Command) -> Result<Vec<Self::Event>, Self::Error>;
}

impl<X: Executor, D: Decider + 'static> Decide<X, StreamBoundary<D>>
where
    StreamBoundary<D>: for<'a> Boundary<View<'a> = &'a D>,
{
    /// Carries a command out; [`run`](Decide::run) with the [`Decider`]'s own decision.
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

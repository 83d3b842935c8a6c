//! Workflows: processes that react, wait and remember.
//!
//! A [`Workflow`] gets inputs from the feed and from its own timers. [`decide`](Workflow::decide) says what follows:
//! events, commands, timers. A [`WorkflowProcessor`](crate::consumer::WorkflowProcessor) runs it.

mod definition;
mod handler;
mod instance;
mod listing;
mod names;
mod outcome;
mod timer;
pub(crate) mod timers;

pub use definition::{Does, Step, Workflow};
pub(crate) use handler::{WorkflowHandler, append_inputs, handler_of, take_due, with_timers};
pub use listing::{InstanceOptions, WorkflowInstance, WorkflowState};
pub use names::{category_of, id_of, stream_of};
pub use timer::{Timer, TimerOptions};

use crate::error::Result;
use crate::store::EventStore;

impl EventStore {
    /// Cancels a timer of a workflow's instance. Returns false if there is none, because it was never set, was cancelled, or
    /// has fired. A timer that is cancelled never fires afterwards.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// let was_waiting = store.cancel_timer("checkout", "order-1", "payment")?;
    /// # let _ = was_waiting;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the database refuses the deletion, or the connection is lost. The timer may be cancelled then.
    pub fn cancel_timer(&self, workflow: &str, id: &str, timer: &str) -> Result<bool> {
        // Not repeated: a repetition would not find the timer that the first attempt has cancelled.
        self.connections().run(false, |sql| {
            timers::cancel(sql, self.partition(), workflow, id, timer)
        })
    }
}

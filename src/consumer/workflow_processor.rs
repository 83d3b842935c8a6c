//! Workflows as processors.

use super::processor::{Handler, Processor, ProcessorOptions, processor_options};
use crate::database::position::small_to_sql;
use crate::error::Result;
use crate::events::HandledEvents;
use crate::workflow::{Workflow, WorkflowHandler, handler_of, with_timers};
use std::fmt;
use std::sync::Arc;

/// Runs a [`Workflow`]: passes inputs to its instances, stores what they do, and fires their timers.
///
/// An input's record, the outputs, the timers and the checkpoint are committed in one transaction. An instance gets each
/// input once, even if the processor is reset or the input is delivered twice. One worker at a time works for an instance,
/// whichever streams its inputs come from.
///
/// The processor has the name `emt:processor:workflow:{NAME}`, as in Emmett, or [its own](WorkflowProcessor::name).
///
/// ```no_run
/// use emmett_postgresql::FailurePolicy;
/// use emmett_postgresql::consumer::WorkflowProcessor;
/// # use emmett_postgresql::workflow::{Does, Step, Workflow};
/// # use emmett_postgresql::{EventStore, RawEvent, Recorded};
/// # #[derive(Default)]
/// # struct Checkout;
/// # impl Workflow for Checkout {
/// #     type Input = RawEvent;
/// #     type Output = RawEvent;
/// #     const NAME: &'static str = "checkout";
/// #     fn id(_: &Recorded<RawEvent>) -> Option<String> { None }
/// #     fn evolve(&mut self, _: Step<&RawEvent, &RawEvent>) {}
/// #     fn decide(&self, _: &RawEvent) -> Vec<Does<RawEvent, RawEvent>> { Vec::new() }
/// # }
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// # let store = EventStore::open("postgresql://localhost/shop")?;
/// let checkout = WorkflowProcessor::of::<Checkout>()
///     .workers(4)
///     .on_failure(FailurePolicy::park());
/// let consumer = store.consumer().workflow(checkout).start()?;
/// # consumer.stop()?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct WorkflowProcessor {
    name: String,
    version: u32,
    handled: HandledEvents,
    /// Adds the events of the timers.
    with_timers: fn(HandledEvents) -> HandledEvents,
    workflow: Arc<dyn WorkflowHandler>,
    options: ProcessorOptions,
}

impl fmt::Debug for WorkflowProcessor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WorkflowProcessor")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl WorkflowProcessor {
    /// Creates the processor of a workflow.
    pub fn of<W: Workflow>() -> Self {
        Self {
            name: format!("emt:processor:workflow:{}", W::NAME),
            version: 1,
            handled: HandledEvents::of::<W::Input>(),
            with_timers: with_timers::<W>,
            workflow: Arc::new(handler_of::<W>()),
            options: ProcessorOptions::default(),
        }
    }

    /// Name of the processor, which identifies its checkpoint. Defaults to `emt:processor:workflow:{NAME}`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Restricts the inputs to these message types. Timers may have other ones. A type that the enum does not have is an
    /// error when the consumer is started. Defaults to all types of the enum.
    pub fn can_handle(mut self, types: &[&str]) -> Self {
        self.handled.only_types(types);
        self
    }

    /// Restricts the inputs to streams of these [categories](crate::Event::CATEGORY). Defaults to the categories of the enum.
    pub fn categories(mut self, categories: &[&str]) -> Self {
        self.handled.only_categories(categories);
        self
    }

    /// Version of the code. Another version is a separate processor with its own checkpoint. It finds the inputs that the
    /// instances have already. At most 2,147,483,647. Defaults to 1.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    processor_options!();

    pub(super) fn into_processor(self) -> Result<Processor> {
        let what = format!("the version of workflow \"{}\"", self.name);
        Ok(Processor {
            version: small_to_sql(&what, self.version)?,
            name: self.name,
            handled: (self.with_timers)(self.handled),
            handler: Handler::Workflow(self.workflow),
            options: self.options,
        })
    }
}

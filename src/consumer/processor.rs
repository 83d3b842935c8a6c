//! A processor: a handler with a name and options.

use super::failure::FailurePolicy;
use super::on_new_types::OnNewTypes;
use super::reactor_context::ReactorContext;
use crate::database::check_key;
use crate::error::{Error, Result, caught};
use crate::events::{EventSelection, HandledEvents, RecordedMessage};
use crate::projection::{Projection, check_handled};
use crate::trace;
use crate::workflow::WorkflowHandler;
use std::sync::Arc;

/// The start of a processor without a checkpoint. A processor with a checkpoint resumes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartFrom {
    /// Start with the first event of the store. This is the default.
    #[default]
    Beginning,
    /// Skip the events that are already in the feed. Start with the first event appended after the consumer starts.
    End,
    /// Start after this global position.
    Position(u64),
}

type Each = dyn Fn(&RecordedMessage, &mut ReactorContext<'_>) -> anyhow::Result<()> + Send + Sync;
type Batch =
    dyn Fn(&[&RecordedMessage], &mut ReactorContext<'_>) -> anyhow::Result<()> + Send + Sync;

type React = dyn Fn(&EventSelection, &[&RecordedMessage], &mut ReactorContext<'_>) -> anyhow::Result<()>
    + Send
    + Sync;

pub(super) enum Handler {
    Projector(Arc<dyn Projection>),
    Reactor(Reaction),
    Workflow(Arc<dyn WorkflowHandler>),
}

/// A reactor's handler, for single events or for batches.
pub(super) enum Reaction {
    Each(Box<Each>),
    Batch(Box<Batch>),
}

/// A reactor's handler for the events of one enum.
pub(super) struct TypedReaction {
    pub(super) takes_batches: bool,
    pub(super) react: Box<React>,
}

impl Reaction {
    /// Combines the reactions to the enums. The result takes batches if any of them does.
    pub(super) fn of_all(reactions: Vec<TypedReaction>, handled: &HandledEvents) -> Self {
        let handled = handled.clone();
        let takes_batches = reactions.iter().any(|reaction| reaction.takes_batches);
        let react = move |messages: &[&RecordedMessage], context: &mut ReactorContext<'_>| {
            for (indices, run) in handled.runs(messages) {
                for index in indices {
                    (reactions[index].react)(&handled.selections()[index], run, context)?;
                }
            }
            Ok(())
        };
        if takes_batches {
            Self::Batch(Box::new(react))
        } else {
            Self::Each(Box::new(move |message, context| react(&[message], context)))
        }
    }
}

type Condition = dyn Fn(&RecordedMessage) -> bool + Send + Sync;
type ErrorHook = dyn Fn(&Error) + Send + Sync;
type Hook<A> = Option<Box<dyn Fn(A) + Send + Sync>>;

/// Options of projectors and reactors.
#[derive(Default)]
pub(super) struct ProcessorOptions {
    pub(super) start_from: StartFrom,
    pub(super) workers: Option<u32>,
    pub(super) slots: Option<u32>,
    pub(super) on_new_types: OnNewTypes,
    pub(super) on_failure: FailurePolicy,
    pub(super) stop_after: Option<Box<Condition>>,
    pub(super) on_start: Hook<()>,
    pub(super) on_stop: Hook<()>,
    pub(super) on_error: Option<Box<ErrorHook>>,
    pub(super) on_caught_up: Hook<u64>,
}

/// Default number of slots of a processor with several workers.
const SLOTS: u32 = 16;

/// A handler with its name and options.
pub(super) struct Processor {
    pub(super) name: String,
    pub(super) version: i32,
    pub(super) handled: HandledEvents,
    pub(super) handler: Handler,
    pub(super) options: ProcessorOptions,
}

impl Processor {
    pub(super) fn check(&self) -> Result<()> {
        check_key("the processor name", &self.name)?;
        let what = || format!("processor \"{}\"", self.name);
        if self.options.workers == Some(0) {
            return Err(Error::invalid(what(), "must have at least one worker"));
        }
        if self.options.slots == Some(0) {
            return Err(Error::invalid(what(), "must have at least one slot"));
        }
        if let Some(workflow) = self.workflow() {
            workflow.names().check()?;
        }
        match self.projection() {
            Some(projection) => check_handled(projection.as_ref()),
            None => self.handled.check(&what()),
        }
    }

    /// Returns the processor's projection, if it is a projector.
    pub(super) fn projection(&self) -> Option<&Arc<dyn Projection>> {
        match &self.handler {
            Handler::Projector(projection) => Some(projection),
            Handler::Reactor(_) | Handler::Workflow(_) => None,
        }
    }

    /// Returns the processor's workflow, if it has one.
    pub(super) fn workflow(&self) -> Option<&Arc<dyn WorkflowHandler>> {
        match &self.handler {
            Handler::Workflow(workflow) => Some(workflow),
            Handler::Projector(_) | Handler::Reactor(_) => None,
        }
    }

    pub(super) fn workers(&self) -> u32 {
        self.options.workers.unwrap_or(1)
    }

    /// Returns the number of slots that the processor gets when it is first started.
    pub(super) fn new_slots(&self) -> u32 {
        let several = self.options.workers.is_some_and(|workers| workers > 1);
        let slots = if several {
            SLOTS.max(self.workers())
        } else {
            1
        };
        self.options.slots.unwrap_or(slots)
    }

    /// Reports an error that does not belong to a worker. A panic of the hook is traced.
    pub(super) fn report(&self, error: &Error) {
        let _ = self.try_report(error);
    }

    /// Calls the `on_error` hook. Fails if the hook panics.
    pub(super) fn try_report(&self, error: &Error) -> Result<()> {
        trace::failed(&self.name, error);
        let Some(hook) = &self.options.on_error else {
            return Ok(());
        };
        caught("on_error", || hook(error)).map_err(|panic| {
            let error = Error::processor(self.name.clone(), panic);
            trace::failed(&self.name, &error);
            error
        })
    }

    pub(super) fn handles(&self, message: &RecordedMessage) -> bool {
        self.handled.has_message(message)
    }
}

/// Defines the options that projectors and reactors share.
macro_rules! processor_options {
    () => {
        /// Position at which the processor starts if it has no checkpoint. Defaults to the beginning.
        pub fn start_from(mut self, start: crate::consumer::StartFrom) -> Self {
            self.options.start_from = start;
            self
        }

        /// Number of workers in this process, each with its own thread. Workers of other processes share the work,
        /// too. The events of one stream are always handled by one worker, in order. Defaults to 1.
        ///
        /// Several workers need several slots. Their number is fixed when the processor is first started: 16, or the
        /// number given by [`slots`](Self::slots).
        pub fn workers(mut self, workers: u32) -> Self {
            self.options.workers = Some(workers);
            self
        }

        /// Number of slots into which the streams are divided. It is the maximum number of active workers in all
        /// processes together. The number is stored when the processor is first started, and another number is an
        /// error later. Defaults to 16 with several workers, and to 1 otherwise.
        pub fn slots(mut self, slots: u32) -> Self {
            self.options.slots = Some(slots);
            self
        }

        /// Policy for events whose types this code handles, but that older code has passed over. Defaults to
        /// [`OnNewTypes::FromHere`](crate::consumer::OnNewTypes::FromHere).
        pub fn on_new_types(mut self, policy: crate::consumer::OnNewTypes) -> Self {
            self.options.on_new_types = policy;
            self
        }

        /// Policy for failures of the handler. Defaults to [`FailurePolicy::stop`](crate::FailurePolicy::stop).
        pub fn on_failure(mut self, policy: crate::consumer::FailurePolicy) -> Self {
            self.options.on_failure = policy;
            self
        }

        /// Stops the processor after the first message that meets the condition. Defaults to never.
        pub fn stop_after(
            mut self,
            condition: impl Fn(&crate::events::RecordedMessage) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.options.stop_after = Some(Box::new(condition));
            self
        }

        /// Calls a function when a worker starts. Defaults to none.
        pub fn on_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
            self.options.on_start = Some(Box::new(move |()| hook()));
            self
        }

        /// Calls a function when a worker ends, for any reason. Defaults to none.
        pub fn on_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
            self.options.on_stop = Some(Box::new(move |()| hook()));
            self
        }

        /// Calls a function with every error: errors that are retried, such as a failed attempt or a lost connection,
        /// and the error that stops the processor. Defaults to none.
        pub fn on_error(
            mut self,
            hook: impl Fn(&crate::error::Error) + Send + Sync + 'static,
        ) -> Self {
            self.options.on_error = Some(Box::new(hook));
            self
        }

        /// Calls a function with the position when a worker has caught up with the feed. Defaults to none.
        pub fn on_caught_up(mut self, hook: impl Fn(u64) + Send + Sync + 'static) -> Self {
            self.options.on_caught_up = Some(Box::new(hook));
            self
        }
    };
}

pub(super) use processor_options;

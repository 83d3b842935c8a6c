//! What a consumer runs: a handler with a name and options.

use super::failure::FailurePolicy;
use super::on_new_types::OnNewTypes;
use super::reactor_context::ReactorContext;
use crate::database::check_key;
use crate::error::{Error, Result, caught};
use crate::events::{HandledEvents, RecordedMessage};
use crate::projection::{Projection, check_handled};
use crate::trace;
use std::sync::Arc;

/// Where a processor begins that has no checkpoint yet. One that has goes on there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartFrom {
    /// With the first event of the store. The default.
    #[default]
    Beginning,
    /// With the first event that is appended after the consumer starts: what is already in the feed is skipped.
    End,
    /// Behind this global position.
    Position(u64),
}

type Each = dyn Fn(&RecordedMessage, &mut ReactorContext<'_>) -> anyhow::Result<()> + Send + Sync;
type Batch =
    dyn Fn(&[&RecordedMessage], &mut ReactorContext<'_>) -> anyhow::Result<()> + Send + Sync;

pub(super) enum Handler {
    Projector(Arc<dyn Projection>),
    Reactor(Reaction),
}

/// What a reactor does with events: with each, or with a batch at once.
pub(super) enum Reaction {
    Each(Box<Each>),
    Batch(Box<Batch>),
}

impl Reaction {
    /// The reactions to several enums as one. It takes a batch at once if one of them does.
    pub(super) fn of_all(mut reactions: Vec<Self>, handled: &HandledEvents) -> Self {
        if reactions.len() == 1 {
            return reactions.remove(0);
        }
        let handled = handled.clone();
        if reactions
            .iter()
            .all(|reaction| matches!(reaction, Self::Each(_)))
        {
            return Self::Each(Box::new(move |message, context| {
                let indices = handled.handlers_of(message).into_iter();
                indices
                    .map(|index| &reactions[index])
                    .try_for_each(|reaction| reaction.react(&[message], context))
            }));
        }
        Self::Batch(Box::new(move |messages, context| {
            for (indices, run) in handled.runs(messages) {
                indices
                    .into_iter()
                    .try_for_each(|index| reactions[index].react(run, context))?;
            }
            Ok(())
        }))
    }

    fn react(
        &self,
        messages: &[&RecordedMessage],
        context: &mut ReactorContext<'_>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Each(each) => messages
                .iter()
                .try_for_each(|message| each(message, context)),
            Self::Batch(batch) => batch(messages, context),
        }
    }
}

type Condition = dyn Fn(&RecordedMessage) -> bool + Send + Sync;
type ErrorHook = dyn Fn(&Error) + Send + Sync;
type Hook<A> = Option<Box<dyn Fn(A) + Send + Sync>>;

/// What both kinds of processors can be told.
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

/// How many slots a processor gets that is to have several workers.
const SLOTS: u32 = 16;

/// A handler with all that it takes to run it.
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
        match self.projection() {
            Some(projection) => check_handled(projection.as_ref()),
            None => self.handled.check(&what()),
        }
    }

    /// The projection that it keeps.
    pub(super) fn projection(&self) -> Option<&Arc<dyn Projection>> {
        match &self.handler {
            Handler::Projector(projection) => Some(projection),
            Handler::Reactor(_) => None,
        }
    }

    pub(super) fn workers(&self) -> u32 {
        self.options.workers.unwrap_or(1)
    }

    /// How many slots it gets when it is started for the first time.
    pub(super) fn new_slots(&self) -> u32 {
        let several = self.options.workers.is_some_and(|workers| workers > 1);
        let slots = if several {
            SLOTS.max(self.workers())
        } else {
            1
        };
        self.options.slots.unwrap_or(slots)
    }

    /// Reports an error that concerns no worker. A panic of the hook is traced.
    pub(super) fn report(&self, error: &Error) {
        let _ = self.try_report(error);
    }

    /// Calls the hook with an error; fails when the hook panics.
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

/// The options that projectors and reactors share.
macro_rules! processor_options {
    () => {
        /// Where to begin when there is no checkpoint yet. Defaults to the beginning.
        pub fn start_from(mut self, start: crate::consumer::StartFrom) -> Self {
            self.options.start_from = start;
            self
        }

        /// How many workers of this process share the work, each by threads of its own; workers of other processes take
        /// their share of it, too. The events of one stream are always handled by one worker, in their order. Defaults to 1.
        ///
        /// More than one needs slots, whose number is chosen when the processor is started for the first time: 16, or
        /// [`slots`](Self::slots).
        pub fn workers(mut self, workers: u32) -> Self {
            self.options.workers = Some(workers);
            self
        }

        /// Into how many slots the streams are divided: the largest number of workers, of all processes together, that have
        /// something to do. Stored when the processor is started for the first time; another number is an error then.
        /// Defaults to 16 for more than one worker, else to 1.
        pub fn slots(mut self, slots: u32) -> Self {
            self.options.slots = Some(slots);
            self
        }

        /// What to do with events of types that this code handles, and code before it has passed over. Defaults to
        /// [`OnNewTypes::FromHere`](crate::consumer::OnNewTypes::FromHere).
        pub fn on_new_types(mut self, policy: crate::consumer::OnNewTypes) -> Self {
            self.options.on_new_types = policy;
            self
        }

        /// What to do when the handler fails. Defaults to [`FailurePolicy::stop`](crate::FailurePolicy::stop).
        pub fn on_failure(mut self, policy: crate::consumer::FailurePolicy) -> Self {
            self.options.on_failure = policy;
            self
        }

        /// Stops after the first message that meets the condition. Defaults to never.
        pub fn stop_after(
            mut self,
            condition: impl Fn(&crate::events::RecordedMessage) -> bool + Send + Sync + 'static,
        ) -> Self {
            self.options.stop_after = Some(Box::new(condition));
            self
        }

        /// Called by each worker when it starts.
        pub fn on_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
            self.options.on_start = Some(Box::new(move |()| hook()));
            self
        }

        /// Called by each worker when it ends, for whatever reason.
        pub fn on_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
            self.options.on_stop = Some(Box::new(move |()| hook()));
            self
        }

        /// Called with every error: those that are survived (a failed attempt, a lost database), and the one that stops it.
        pub fn on_error(
            mut self,
            hook: impl Fn(&crate::error::Error) + Send + Sync + 'static,
        ) -> Self {
            self.options.on_error = Some(Box::new(hook));
            self
        }

        /// Called with the position whenever a worker has nothing left to do.
        pub fn on_caught_up(mut self, hook: impl Fn(u64) + Send + Sync + 'static) -> Self {
            self.options.on_caught_up = Some(Box::new(hook));
            self
        }
    };
}

pub(super) use processor_options;

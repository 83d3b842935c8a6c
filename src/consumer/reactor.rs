//! Reactors: side effects, at least once.

use super::processor::{Handler, Processor, ProcessorOptions, Reaction, processor_options};
use super::reactor_context::ReactorContext;
use crate::error::Result;
use crate::events::{Event, HandledEvents, Recorded, RecordedMessage};
use std::fmt;

/// Does something for each event: sends a mail, calls a service, appends an answer.
///
/// Its checkpoint follows its effects, so an event is handled at least once: after a crash, some are handled again. What is
/// done through the [`ReactorContext`] is committed together with the checkpoint, exactly once.
///
/// ```
/// use emmett_postgresql::{Event, FailurePolicy, Reactor, Recorded};
/// use std::time::Duration;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # enum OrderEvent { Confirmed { client: String }, Shipped {} }
/// # impl Event for OrderEvent {}
/// # fn send_mail(_: &str) -> anyhow::Result<()> { Ok(()) }
/// let notifications = Reactor::new("order-notifications")
///     .each(|message: &Recorded<OrderEvent>, context| {
///         if let OrderEvent::Confirmed { client } = &message.event {
///             send_mail(client)?;
///             context.append_to_stream("Mail-1", &[OrderEvent::Shipped {}])?;
///         }
///         Ok(())
///     })
///     .can_handle(&["Confirmed"])
///     .on_failure(FailurePolicy::park().retries(5, Duration::from_secs(1)));
/// ```
#[must_use]
pub struct Reactor {
    name: String,
    version: u32,
    handled: HandledEvents,
    /// One for each enum that is handled, in the same order.
    reactions: Vec<Reaction>,
    options: ProcessorOptions,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Reactor")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A reactor that does not know yet what to do.
#[derive(Debug)]
#[must_use]
pub struct UnfinishedReactor {
    name: String,
}

impl UnfinishedReactor {
    /// Handles one event at a time.
    pub fn each<E: Event>(
        self,
        handle: impl Fn(&Recorded<E>, &mut ReactorContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Reactor {
        self.finish().on(handle)
    }

    /// Handles the events of an enum, one at a time. The same as [`each`](UnfinishedReactor::each); more enums can
    /// [follow](Reactor::on).
    pub fn on<E: Event>(
        self,
        handle: impl Fn(&Recorded<E>, &mut ReactorContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Reactor {
        self.finish().on(handle)
    }

    /// Handles all events of a batch at once. When it fails, the batch is repeated event by event.
    pub fn batch<E: Event>(
        self,
        handle: impl Fn(&[Recorded<E>], &mut ReactorContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Reactor {
        let batch = move |messages: &[&RecordedMessage], context: &mut ReactorContext<'_>| {
            let events = messages
                .iter()
                .map(|message| message.decode())
                .collect::<Result<Vec<Recorded<E>>>>()?;
            handle(&events, context)
        };
        self.finish().with::<E>(Reaction::Batch(Box::new(batch)))
    }

    fn finish(self) -> Reactor {
        Reactor {
            name: self.name,
            version: 1,
            handled: HandledEvents::default(),
            reactions: Vec::new(),
            options: ProcessorOptions::default(),
        }
    }
}

impl Reactor {
    /// A reactor of this name; its checkpoint is kept under it.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a reactor without a handler is not one yet"
    )]
    pub fn new(name: impl Into<String>) -> UnfinishedReactor {
        UnfinishedReactor { name: name.into() }
    }

    /// Handles the events of another enum, one at a time, in one order with those of the first.
    ///
    /// ```
    /// use emmett_postgresql::{Event, Reactor, Recorded};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # enum OrderEvent { Placed {} }
    /// # impl Event for OrderEvent { const CATEGORY: &'static str = "Order"; }
    /// # #[derive(Serialize, Deserialize)]
    /// # enum InvoiceEvent { Paid {} }
    /// # impl Event for InvoiceEvent { const CATEGORY: &'static str = "Invoice"; }
    /// # fn send_mail(_: &str) -> anyhow::Result<()> { Ok(()) }
    /// let mails = Reactor::new("mails")
    ///     .on(|_: &Recorded<OrderEvent>, _| send_mail("Thank you for your order"))
    ///     .on(|_: &Recorded<InvoiceEvent>, _| send_mail("Thank you for your payment"));
    /// ```
    ///
    /// After [`batch`](UnfinishedReactor::batch), its events belong to the batch, too: when one fails, all are repeated.
    pub fn on<E: Event>(
        self,
        handle: impl Fn(&Recorded<E>, &mut ReactorContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let each = move |message: &RecordedMessage, context: &mut ReactorContext<'_>| {
            handle(&message.decode()?, context)
        };
        self.with::<E>(Reaction::Each(Box::new(each)))
    }

    fn with<E: Event>(mut self, reaction: Reaction) -> Self {
        self.handled.add::<E>();
        self.reactions.push(reaction);
        self
    }

    /// Handles these message types only, of the enum whose handler was given last. Defaults to all that the enum has.
    pub fn can_handle(mut self, types: &[&str]) -> Self {
        self.handled.only_types(types);
        self
    }

    /// Handles events of streams of these [categories](Event::CATEGORY) only, of the enum whose handler was given last.
    /// Defaults to those of the enum.
    pub fn categories(mut self, categories: &[&str]) -> Self {
        self.handled.only_categories(categories);
        self
    }

    /// The version of the code. Another version is another processor, with a checkpoint of its own. Defaults to 1.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    processor_options!();

    pub(super) fn into_processor(self) -> Processor {
        Processor {
            name: self.name,
            version: i32::try_from(self.version).unwrap_or(i32::MAX),
            handler: Handler::Reactor(Reaction::of_all(self.reactions, &self.handled)),
            handled: self.handled,
            options: self.options,
        }
    }
}

//! Reactors: side effects, at least once.

use super::processor::{
    Handler, Processor, ProcessorOptions, Reaction, TypedReaction, processor_options,
};
use super::reactor_context::ReactorContext;
use crate::database::position::small_to_sql;
use crate::error::Result;
use crate::events::{
    Event, EventSelection, HandledEvents, Recorded, RecordedMessage, outbox_category,
};
use std::fmt;

/// Runs side effects for events: sends mails, calls services, appends further events.
///
/// The checkpoint is written after the effects, so delivery is at least once: after a crash, some events are handled
/// again. Make external effects idempotent. Changes made through the [`ReactorContext`] are committed together with the
/// checkpoint, exactly once.
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
    /// One reaction for each enum, in the order of `handled`.
    reactions: Vec<TypedReaction>,
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

/// A reactor without a handler. [`each`](UnfinishedReactor::each) or [`batch`](UnfinishedReactor::batch) adds it.
/// Options can be set before and after.
#[must_use]
pub struct UnfinishedReactor {
    name: String,
    version: u32,
    can_handle: Option<Vec<String>>,
    categories: Option<Vec<String>>,
    options: ProcessorOptions,
}

impl fmt::Debug for UnfinishedReactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UnfinishedReactor")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl UnfinishedReactor {
    /// Adds a handler that receives one event at a time. Only a failed event is retried, as the
    /// [policy](crate::FailurePolicy::retries) says. Earlier events of the batch stay handled.
    pub fn each<E: Event>(
        self,
        handle: impl Fn(&Recorded<E>, &mut ReactorContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Reactor {
        self.begin::<E>(each(handle))
    }

    /// Adds a handler for the events of an enum, one at a time. It is the same as [`each`](UnfinishedReactor::each).
    /// Further enums can [follow](Reactor::on).
    pub fn on<E: Event>(
        self,
        handle: impl Fn(&Recorded<E>, &mut ReactorContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Reactor {
        self.begin::<E>(each(handle))
    }

    /// Adds a handler that delivers the commands of an [outbox](crate::decide::Decision::outbox), one at a time. The commands
    /// of one key keep their order.
    ///
    /// Delivery is at least once: after a crash, some commands are delivered again. The recipient can recognise them by
    /// their [`message_id`](Recorded::message_id).
    ///
    /// ```
    /// use emmett_postgresql::{FailurePolicy, RawEvent, Reactor, Recorded};
    /// use std::time::Duration;
    /// # fn post(_: &str, _: &serde_json::Value) -> anyhow::Result<()> { Ok(()) }
    /// let mails = Reactor::new("mails")
    ///     .outbox("mail", |command: &Recorded<RawEvent>, _| {
    ///         post(&command.message_id, &command.event.data)
    ///     })
    ///     .workers(4)
    ///     .on_failure(FailurePolicy::park().retries(5, Duration::from_secs(1)));
    /// ```
    ///
    /// A topic that no outbox can have is an error when the consumer is started.
    pub fn outbox<C: Event>(
        self,
        topic: &str,
        deliver: impl Fn(&Recorded<C>, &mut ReactorContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Reactor {
        self.categories(&[&outbox_category(topic)])
            .begin::<C>(each(deliver))
    }

    /// Adds a handler that receives all events of a batch at once.
    ///
    /// If it fails with several events, each event is first handled alone, and then the [policy](crate::FailurePolicy)
    /// applies. Effects outside the context are therefore repeated for some events.
    pub fn batch<E: Event>(
        self,
        handle: impl Fn(&[Recorded<E>], &mut ReactorContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Reactor {
        let react = move |events: &EventSelection,
                          messages: &[&RecordedMessage],
                          context: &mut ReactorContext<'_>| {
            let events = events.decode_all(messages)?;
            if events.is_empty() {
                return Ok(());
            }
            handle(&events, context)
        };
        self.begin::<E>(TypedReaction {
            takes_batches: true,
            react: Box::new(react),
        })
    }

    /// Restricts the reactor to these message types, and to [former](Event::FORMER_TYPES) messages that become these. A type
    /// that the event enum does not have is an error when the consumer is started. Defaults to all types of the enum.
    pub fn can_handle(mut self, types: &[&str]) -> Self {
        self.can_handle = Some(owned(types));
        self
    }

    /// Restricts the reactor to streams of these [categories](Event::CATEGORY). Defaults to the category of the enum.
    pub fn categories(mut self, categories: &[&str]) -> Self {
        self.categories = Some(owned(categories));
        self
    }

    /// Version of the code. Another version is a separate processor with its own checkpoint. At most 2,147,483,647.
    /// Defaults to 1.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    processor_options!();

    /// Returns the reactor with the handler of its first enum, and the restrictions of that handler.
    fn begin<E: Event>(self, reaction: TypedReaction) -> Reactor {
        let mut reactor = Reactor {
            name: self.name,
            version: self.version,
            handled: HandledEvents::default(),
            reactions: Vec::new(),
            options: self.options,
        }
        .with::<E>(reaction);
        if let Some(types) = &self.can_handle {
            reactor.handled.only_types(types);
        }
        if let Some(categories) = &self.categories {
            reactor.handled.only_categories(categories);
        }
        reactor
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Returns a reaction that decodes and handles one message at a time.
fn each<E: Event>(
    handle: impl Fn(&Recorded<E>, &mut ReactorContext<'_>) -> anyhow::Result<()> + Send + Sync + 'static,
) -> TypedReaction {
    let react = move |events: &EventSelection,
                      messages: &[&RecordedMessage],
                      context: &mut ReactorContext<'_>| {
        for message in messages {
            for recorded in events.decode(message)? {
                handle(&recorded, context)?;
            }
        }
        Ok(())
    };
    TypedReaction {
        takes_batches: false,
        react: Box::new(react),
    }
}

impl Reactor {
    /// Creates a reactor with this name, which identifies its checkpoint.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a reactor without a handler is not one yet"
    )]
    pub fn new(name: impl Into<String>) -> UnfinishedReactor {
        UnfinishedReactor {
            name: name.into(),
            version: 1,
            can_handle: None,
            categories: None,
            options: ProcessorOptions::default(),
        }
    }

    /// Adds a handler for the events of another enum, one at a time. All events keep their original order.
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
    /// After [`batch`](UnfinishedReactor::batch), these events are part of the batch, too: if one fails, all are
    /// retried.
    pub fn on<E: Event>(
        self,
        handle: impl Fn(&Recorded<E>, &mut ReactorContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.with::<E>(each(handle))
    }

    fn with<E: Event>(mut self, reaction: TypedReaction) -> Self {
        self.handled.add::<E>();
        self.reactions.push(reaction);
        self
    }

    /// Restricts the handler that was added last to these message types, and to [former](Event::FORMER_TYPES) messages that
    /// become these. A type that the enum does not have is an error when the consumer is started. Defaults to all types of the enum.
    pub fn can_handle(mut self, types: &[&str]) -> Self {
        self.handled.only_types(types);
        self
    }

    /// Restricts the handler that was added last to streams of these [categories](Event::CATEGORY). Defaults to the
    /// category of the enum.
    pub fn categories(mut self, categories: &[&str]) -> Self {
        self.handled.only_categories(categories);
        self
    }

    /// Version of the code. Another version is a separate processor with its own checkpoint. At most 2,147,483,647.
    /// Defaults to 1.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    processor_options!();

    pub(super) fn into_processor(self) -> Result<Processor> {
        let what = format!("the version of reactor \"{}\"", self.name);
        Ok(Processor {
            name: self.name,
            version: small_to_sql(&what, self.version)?,
            handler: Handler::Reactor(Reaction::of_all(self.reactions, &self.handled)),
            handled: self.handled,
            options: self.options,
        })
    }
}

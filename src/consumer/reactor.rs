//! Reactors: side effects, at least once.

use super::processor::{Handler, Processor, ProcessorOptions, Reaction, processor_options};
use super::reactor_context::ReactorContext;
use crate::database::position::small_to_sql;
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

/// A reactor that does not know yet what to do: [`each`](UnfinishedReactor::each) or [`batch`](UnfinishedReactor::batch)
/// says so. Options can be given before that and after it.
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
    /// Handles one event at a time. An event that fails is handled again only as often as the
    /// [policy](crate::FailurePolicy::retries) says; those before it are done.
    pub fn each<E: Event>(
        self,
        handle: impl Fn(&Recorded<E>, &mut ReactorContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Reactor {
        self.begin::<E>(each(handle))
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
        self.begin::<E>(each(handle))
    }

    /// Handles all events of a batch at once. When it fails with several events, each is handled alone then, before the
    /// [policy](crate::FailurePolicy) counts: what the handler did outside of the context for some of them is repeated.
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
        self.begin::<E>(Reaction::Batch(Box::new(batch)))
    }

    /// Handles these message types only. One that the event enum does not have is an error when the consumer is started.
    /// Defaults to all that the enum has.
    pub fn can_handle(mut self, types: &[&str]) -> Self {
        self.can_handle = Some(owned(types));
        self
    }

    /// Handles events of streams of these [categories](Event::CATEGORY) only. Defaults to those of the event enum.
    pub fn categories(mut self, categories: &[&str]) -> Self {
        self.categories = Some(owned(categories));
        self
    }

    /// The version of the code. Another version is another processor, with a checkpoint of its own. At most
    /// 2,147,483,647. Defaults to 1.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    processor_options!();

    /// The reactor with the handler of its first enum, to which the restrictions that were given belong.
    fn begin<E: Event>(self, reaction: Reaction) -> Reactor {
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

/// A handler as a reaction to one message at a time.
fn each<E: Event>(
    handle: impl Fn(&Recorded<E>, &mut ReactorContext<'_>) -> anyhow::Result<()> + Send + Sync + 'static,
) -> Reaction {
    let each = move |message: &RecordedMessage, context: &mut ReactorContext<'_>| {
        handle(&message.decode()?, context)
    };
    Reaction::Each(Box::new(each))
}

impl Reactor {
    /// A reactor of this name; its checkpoint is kept under it.
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
        self.with::<E>(each(handle))
    }

    fn with<E: Event>(mut self, reaction: Reaction) -> Self {
        self.handled.add::<E>();
        self.reactions.push(reaction);
        self
    }

    /// Handles these message types only, of the enum whose handler was given last. One that the enum does not have is an
    /// error when the consumer is started. Defaults to all that the enum has.
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

    /// The version of the code. Another version is another processor, with a checkpoint of its own. At most
    /// 2,147,483,647. Defaults to 1.
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

//! Reactors: side effects, at least once.

use super::batch_transaction::BatchTransaction;
use super::processor::{Handler, Processor, ProcessorOptions, processor_options};
use crate::error::Result;
use crate::events::event::Event;
use crate::events::message::{Appendable, Recorded, RecordedMessage};
use crate::events::stream::Appended;
use crate::events::stream::append_options::AppendOptions;
use crate::pongo::Collection;
use crate::projection::HandledTypes;
use postgres::Row;
use postgres::types::ToSql;
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
    types: HandledTypes,
    handler: Handler,
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
        let each = move |message: &RecordedMessage, transaction: &mut BatchTransaction| {
            let mut context = ReactorContext::new(transaction, message);
            handle(&message.decode()?, &mut context)
        };
        self.finish::<E>(Handler::Each(Box::new(each)))
    }

    /// Handles all events of a batch at once. When it fails, the batch is repeated event by event.
    pub fn batch<E: Event>(
        self,
        handle: impl Fn(&[Recorded<E>], &mut ReactorContext<'_>) -> anyhow::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Reactor {
        let batch = move |messages: &[&RecordedMessage], transaction: &mut BatchTransaction| {
            let Some(last) = messages.last() else {
                return Ok(());
            };
            let events = messages
                .iter()
                .map(|message| message.decode())
                .collect::<Result<Vec<Recorded<E>>>>()?;
            handle(&events, &mut ReactorContext::new(transaction, last))
        };
        self.finish::<E>(Handler::Batch(Box::new(batch)))
    }

    fn finish<E: Event>(self, handler: Handler) -> Reactor {
        Reactor {
            name: self.name,
            version: 1,
            types: HandledTypes::of::<E>(),
            handler,
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

    /// Handles these message types only. Defaults to all that the event enum has.
    pub fn can_handle(mut self, types: &[&str]) -> Self {
        self.types.restrict(types);
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
            types: self.types.as_slice().map(<[String]>::to_vec),
            handler: self.handler,
            options: self.options,
        }
    }
}

/// What a reactor can do beside its side effects: append, keep documents, run SQL.
///
/// All of it is one transaction, which begins when it is first used and is committed together with the checkpoint.
pub struct ReactorContext<'a> {
    transaction: &'a mut BatchTransaction,
    /// The message that is handled, or the last one of the batch: the cause of what is appended.
    cause: &'a RecordedMessage,
}

impl fmt::Debug for ReactorContext<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReactorContext")
            .field("cause", &self.cause.global_position())
            .finish_non_exhaustive()
    }
}

impl<'a> ReactorContext<'a> {
    fn new(transaction: &'a mut BatchTransaction, cause: &'a RecordedMessage) -> Self {
        Self { transaction, cause }
    }

    /// The partition (tenant) whose messages are handled.
    pub fn partition(&self) -> &str {
        self.transaction.partition()
    }

    /// Appends messages to a stream. Their causation id is the id of the message that is handled (of a batch, its last one);
    /// their correlation id is that message's, or its id where it has none.
    ///
    /// # Errors
    /// Those of [`Session::append_to_stream`](crate::Session::append_to_stream).
    pub fn append_to_stream<A: Appendable>(
        &mut self,
        stream: &str,
        messages: &[A],
    ) -> Result<Appended> {
        self.append_to_stream_with(stream, messages, AppendOptions::new())
    }

    /// Appends with options; ids that the options give count more than those of the message that is handled.
    ///
    /// # Errors
    /// Those of [`Session::append_to_stream_with`](crate::Session::append_to_stream_with).
    pub fn append_to_stream_with<A: Appendable>(
        &mut self,
        stream: &str,
        messages: &[A],
        options: AppendOptions,
    ) -> Result<Appended> {
        let options = options.caused_by(self.cause);
        let appended = self
            .transaction
            .session()?
            .append_to_stream_with(stream, messages, options)?;
        self.transaction.note_appended(&appended);
        Ok(appended)
    }

    /// A collection of documents, in this transaction.
    ///
    /// # Errors
    /// When the transaction cannot be begun.
    pub fn collection<T>(&mut self, name: &str) -> Result<Collection<'_, T>> {
        self.transaction.collection(name)
    }

    /// Runs a statement and returns the number of rows that it changed.
    ///
    /// # Errors
    /// When the database refuses it.
    pub fn execute(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        self.transaction.session()?.execute(sql, values)
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    /// When the database refuses it.
    pub fn query(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        self.transaction.session()?.query(sql, values)
    }
}

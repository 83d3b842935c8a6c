//! Projections into documents: one document per stream, or documents whose ids the events name.

use super::documents::{DocumentRows, Documents};
use super::{Projection, ProjectionContext};
use crate::database::check_key;
use crate::error::Result;
use crate::events::{Event, EventSelection, HandledEvents, Recorded, RecordedMessage};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

const SINGLE_STREAM: &str = "document:single_stream";
const MULTI_STREAM: &str = "document:multi_stream";

type DocumentIds<E> = Box<dyn Fn(&Recorded<E>) -> Vec<String> + Send + Sync>;
type Evolve<D, E> = Box<dyn Fn(Option<D>, &Recorded<E>) -> Option<D> + Send + Sync>;

/// Handles the events of one enum.
trait EventHandler<D>: Send + Sync {
    /// Adds a step for each event of a message.
    fn read<'h>(
        &'h self,
        events: &EventSelection,
        message: &RecordedMessage,
        steps: &mut Vec<Box<dyn Step<D> + 'h>>,
    ) -> Result<()>;
}

/// A decoded event together with its handler.
trait Step<D> {
    fn document_ids(&self) -> Vec<String>;
    fn evolve(&self, document: Option<D>) -> Option<D>;
}

struct TypedHandler<D, E> {
    document_ids: DocumentIds<E>,
    evolve: Evolve<D, E>,
}

struct TypedStep<'h, D, E> {
    handler: &'h TypedHandler<D, E>,
    recorded: Recorded<E>,
}

impl<D: 'static, E: Event + 'static> EventHandler<D> for TypedHandler<D, E> {
    fn read<'h>(
        &'h self,
        events: &EventSelection,
        message: &RecordedMessage,
        steps: &mut Vec<Box<dyn Step<D> + 'h>>,
    ) -> Result<()> {
        for recorded in events.decode(message)? {
            steps.push(Box::new(TypedStep {
                handler: self,
                recorded,
            }));
        }
        Ok(())
    }
}

impl<D, E> Step<D> for TypedStep<'_, D, E> {
    fn document_ids(&self) -> Vec<String> {
        (self.handler.document_ids)(&self.recorded)
    }

    fn evolve(&self, document: Option<D>) -> Option<D> {
        (self.handler.evolve)(document, &self.recorded)
    }
}

/// A projection that folds events into documents.
///
/// `evolve` receives the current document, or `None` if there is none, and returns the new document. Returning
/// `None` deletes the document. All events of an append for one document are folded first, and the document is
/// written once. Concurrent writers of a document wait for each other, and each sees the changes of the previous
/// writer.
///
/// `evolve` gets each document with the fields `_id` and `_version`, as in a [`Collection`](crate::pongo::Collection), unless
/// [`without_ids`](DocumentProjection::without_ids) is set. Changes that it makes to these two fields are ignored.
///
/// ```
/// use emmett_postgresql::{DocumentProjection, Event, Recorded};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum CartEvent {
///     ProductItemAdded { quantity: u32, price: f64 },
///     Confirmed { client_id: String, total: f64 },
///     Cancelled,
/// }
/// impl Event for CartEvent {}
///
/// #[derive(Serialize, Deserialize, Default)]
/// #[serde(rename_all = "camelCase")]
/// struct CartSummary { total_items: u32, total_amount: f64 }
///
/// let carts = DocumentProjection::single_stream(
///     "cart_summaries",
///     |cart: Option<CartSummary>, recorded: &Recorded<CartEvent>| {
///         let mut cart = cart.unwrap_or_default();
///         match &recorded.event {
///             CartEvent::ProductItemAdded { quantity, price } => {
///                 cart.total_items += quantity;
///                 cart.total_amount += price * f64::from(*quantity);
///             }
///             CartEvent::Confirmed { .. } => {}
///             CartEvent::Cancelled => return None,
///         }
///         Some(cart)
///     },
/// );
///
/// #[derive(Serialize, Deserialize, Default)]
/// struct ClientSummary { orders: u32, spent: f64 }
///
/// let clients = DocumentProjection::multi_stream(
///     "client_summaries",
///     |recorded: &Recorded<CartEvent>| match &recorded.event {
///         CartEvent::Confirmed { client_id, .. } => Some(client_id.clone()),
///         _ => None,
///     },
///     |client: Option<ClientSummary>, recorded| {
///         let mut client = client.unwrap_or_default();
///         if let CartEvent::Confirmed { total, .. } = &recorded.event {
///             client.orders += 1;
///             client.spent += total;
///         }
///         Some(client)
///     },
/// );
/// ```
///
/// A read model of several aggregates has one handler for each event enum:
///
/// ```
/// # use emmett_postgresql::{DocumentProjection, Event, Recorded};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize)]
/// enum OrderEvent { Placed { customer: String } }
/// impl Event for OrderEvent {
///     const CATEGORY: &'static str = "Order";
/// }
///
/// #[derive(Serialize, Deserialize)]
/// enum InvoiceEvent { Paid { customer: String, amount: u64 } }
/// impl Event for InvoiceEvent {
///     const CATEGORY: &'static str = "Invoice";
/// }
///
/// #[derive(Serialize, Deserialize, Default)]
/// struct Customer { orders: u32, paid: u64 }
///
/// let customers = DocumentProjection::named("customers")
///     .on(
///         |order: &Recorded<OrderEvent>| {
///             let OrderEvent::Placed { customer } = &order.event;
///             Some(customer.clone())
///         },
///         |customer: Option<Customer>, _| {
///             let mut customer = customer.unwrap_or_default();
///             customer.orders += 1;
///             Some(customer)
///         },
///     )
///     .on(
///         |invoice: &Recorded<InvoiceEvent>| {
///             let InvoiceEvent::Paid { customer, .. } = &invoice.event;
///             Some(customer.clone())
///         },
///         |customer, invoice| {
///             let mut customer = customer.unwrap_or_default();
///             let InvoiceEvent::Paid { amount, .. } = &invoice.event;
///             customer.paid += amount;
///             Some(customer)
///         },
///     );
/// ```
pub struct DocumentProjection<D> {
    collection: String,
    version: u32,
    kind: &'static str,
    without_ids: bool,
    handled: HandledEvents,
    /// One handler for each enum, in the order of `handled`.
    handlers: Vec<Box<dyn EventHandler<D>>>,
}

impl<D> std::fmt::Debug for DocumentProjection<D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DocumentProjection")
            .field("collection", &self.collection)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl<D: 'static> DocumentProjection<D> {
    /// Creates a projection with one document per stream. The document's id is the name of the stream.
    pub fn single_stream<E: Event + 'static>(
        collection: impl Into<String>,
        evolve: impl Fn(Option<D>, &Recorded<E>) -> Option<D> + Send + Sync + 'static,
    ) -> Self {
        Self::named(collection).on_stream(evolve)
    }

    /// Creates a projection whose events name their documents.
    ///
    /// `document_ids` returns the ids of the documents: an `Option` for at most one, a `Vec` for several.
    pub fn multi_stream<E: Event + 'static, I: IntoIterator<Item = String>>(
        collection: impl Into<String>,
        document_ids: impl Fn(&Recorded<E>) -> I + Send + Sync + 'static,
        evolve: impl Fn(Option<D>, &Recorded<E>) -> Option<D> + Send + Sync + 'static,
    ) -> Self {
        Self::named(collection).on(document_ids, evolve)
    }

    /// Creates a projection without handlers. Add them with [`on`](DocumentProjection::on) and
    /// [`on_stream`](DocumentProjection::on_stream).
    #[must_use]
    pub fn named(collection: impl Into<String>) -> Self {
        Self {
            collection: collection.into(),
            version: 1,
            kind: SINGLE_STREAM,
            without_ids: false,
            handled: HandledEvents::default(),
            handlers: Vec::new(),
        }
    }

    /// Adds a handler for the events of an enum, which name their documents.
    ///
    /// `document_ids` returns the ids of the documents: an `Option` for at most one, a `Vec` for several. The events of
    /// all enums are folded in their original order.
    #[must_use]
    pub fn on<E: Event + 'static, I: IntoIterator<Item = String>>(
        mut self,
        document_ids: impl Fn(&Recorded<E>) -> I + Send + Sync + 'static,
        evolve: impl Fn(Option<D>, &Recorded<E>) -> Option<D> + Send + Sync + 'static,
    ) -> Self {
        self.kind = MULTI_STREAM;
        self.handle_with(
            move |recorded: &Recorded<E>| document_ids(recorded).into_iter().collect(),
            evolve,
        )
    }

    /// Adds a handler for the events of an enum. The document's id is the name of the event's stream.
    #[must_use]
    pub fn on_stream<E: Event + 'static>(
        self,
        evolve: impl Fn(Option<D>, &Recorded<E>) -> Option<D> + Send + Sync + 'static,
    ) -> Self {
        self.handle_with(
            |recorded: &Recorded<E>| vec![recorded.stream_name.to_string()],
            evolve,
        )
    }

    fn handle_with<E: Event + 'static>(
        mut self,
        document_ids: impl Fn(&Recorded<E>) -> Vec<String> + Send + Sync + 'static,
        evolve: impl Fn(Option<D>, &Recorded<E>) -> Option<D> + Send + Sync + 'static,
    ) -> Self {
        self.handled.add::<E>();
        self.handlers.push(Box::new(TypedHandler {
            document_ids: Box::new(document_ids),
            evolve: Box::new(evolve),
        }));
        self
    }

    /// Restricts the handler that was added last to these message types, and to [former](Event::FORMER_TYPES) messages that
    /// become these.
    ///
    /// A type that the enum does not have is an error when the store is opened, the consumer started, or the projection
    /// rebuilt. Defaults to all types of the enum.
    #[must_use]
    pub fn can_handle(mut self, types: &[&str]) -> Self {
        self.handled.only_types(types);
        self
    }

    /// Restricts the handler that was added last to streams of these [categories](Event::CATEGORY). Defaults to the
    /// category of the enum.
    #[must_use]
    pub fn categories(mut self, categories: &[&str]) -> Self {
        self.handled.only_categories(categories);
        self
    }

    /// Version of the projection's code. Defaults to 1.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Reads documents without their fields `_id` and `_version`, for maps, enums, and types that refuse unknown fields. See
    /// [`Collection::without_ids`](crate::pongo::Collection::without_ids). Defaults to documents with both.
    #[must_use]
    pub fn without_ids(mut self) -> Self {
        self.without_ids = true;
        self
    }

    /// Decodes each message once for each handler of its type.
    fn read(&self, messages: &[&RecordedMessage]) -> Result<Vec<Box<dyn Step<D> + '_>>> {
        let mut steps = Vec::with_capacity(messages.len());
        for message in messages {
            for index in self.handled.handlers_of(message) {
                let events = &self.handled.selections()[index];
                self.handlers[index].read(events, message, &mut steps)?;
            }
        }
        Ok(steps)
    }
}

/// The steps of each document, by its id.
type Groups<'e, 'h, D> = BTreeMap<String, Vec<&'e (dyn Step<D> + 'h)>>;

/// Groups events by document id, for the documents that this worker owns. The map is sorted, so that all writers lock
/// documents in the same order.
fn group<'e, 'h, D>(
    steps: &'e [Box<dyn Step<D> + 'h>],
    documents: &impl Documents,
) -> anyhow::Result<Groups<'e, 'h, D>> {
    let mut groups = Groups::new();
    for step in steps {
        let mut ids = step.document_ids();
        // An id that is returned twice for one event is handled once.
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            check_key("the document id", &id)?;
            if documents.owns(&id) {
                groups.entry(id).or_default().push(&**step);
            }
        }
    }
    Ok(groups)
}

impl<D: Serialize + DeserializeOwned + 'static> DocumentProjection<D> {
    /// Folds messages into documents. Each document is read once and written once.
    pub(crate) fn handle_in(
        &self,
        messages: &[&RecordedMessage],
        documents: &mut impl Documents,
    ) -> anyhow::Result<()> {
        let steps = self.read(messages)?;
        let groups = group(&steps, documents)?;
        if groups.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = groups.keys().map(String::as_str).collect();
        let (mut written, mut deleted) = (Vec::new(), Vec::new());
        for (id, document) in documents.lock::<D>(&ids, self.without_ids)? {
            let Some((id, group)) = groups.get_key_value(&id) else {
                continue;
            };
            match group
                .iter()
                .fold(document, |document, step| step.evolve(document))
            {
                Some(document) => {
                    let json = documents.table().encode_without_id(&document)?;
                    written.push((id.as_str(), json));
                }
                None => deleted.push(id.as_str()),
            }
        }
        documents.write(&written, &deleted)
    }
}

impl<D> Projection for DocumentProjection<D>
where
    D: Serialize + DeserializeOwned + 'static,
{
    fn name(&self) -> &str {
        &self.collection
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn kind(&self) -> &'static str {
        self.kind
    }

    fn handles(&self) -> &HandledEvents {
        &self.handled
    }

    fn tables(&self) -> &[String] {
        std::slice::from_ref(&self.collection)
    }

    fn keys(&self, message: &RecordedMessage) -> anyhow::Result<Option<Vec<String>>> {
        if self.kind == SINGLE_STREAM {
            return Ok(None);
        }
        let steps = self.read(&[message])?;
        let ids = steps.iter().flat_map(|step| step.document_ids());
        Ok(Some(ids.collect()))
    }

    fn init(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
        let scope = context.scope().clone();
        crate::database::schema::create_collection(
            context.sql()?,
            &scope.schema,
            &scope.partition,
            &self.collection,
        )?;
        Ok(())
    }

    fn truncate(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
        let table = context.documents(&self.collection)?;
        Ok(table.truncate(context.sql()?)?)
    }

    fn handle(
        &self,
        messages: &[&RecordedMessage],
        context: &mut ProjectionContext<'_>,
    ) -> anyhow::Result<()> {
        let table = context.documents(&self.collection)?;
        self.handle_in(messages, &mut DocumentRows::new(table, context))
    }
}

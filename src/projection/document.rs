//! Projections into documents: one per stream, or one per whatever the events name.

use super::{Projection, ProjectionContext};
use crate::database::check_key;
use crate::events::{Event, HandledEvents, Recorded, RecordedMessage};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

const SINGLE_STREAM: &str = "document:single_stream";
const MULTI_STREAM: &str = "document:multi_stream";

type DocumentIds<E> = Box<dyn Fn(&Recorded<E>) -> Vec<String> + Send + Sync>;
type Evolve<D, E> = Box<dyn Fn(Option<D>, &Recorded<E>) -> Option<D> + Send + Sync>;

/// Keeps documents up to date: each event is folded into the documents that it belongs to.
///
/// `evolve` gets the document as it is, or `None`, and returns it as it shall be; `None` deletes it. All events of an append
/// for one document are folded before it is written, once. Writers that hit one document at the same time wait for each
/// other, and each sees what the other wrote.
///
/// A document's id and version are its fields `_id` and `_version` when it is read, as in a [`Collection`](crate::pongo::Collection);
/// what `evolve` returns in these fields does not count.
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
pub struct DocumentProjection<D, E> {
    collection: String,
    version: u32,
    kind: &'static str,
    handled: HandledEvents,
    document_ids: DocumentIds<E>,
    evolve: Evolve<D, E>,
}

impl<D, E> std::fmt::Debug for DocumentProjection<D, E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DocumentProjection")
            .field("collection", &self.collection)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl<D, E: Event> DocumentProjection<D, E> {
    /// One document per stream, under the stream's name.
    pub fn single_stream(
        collection: impl Into<String>,
        evolve: impl Fn(Option<D>, &Recorded<E>) -> Option<D> + Send + Sync + 'static,
    ) -> Self {
        Self::new(
            collection.into(),
            SINGLE_STREAM,
            |recorded| vec![recorded.stream_name.to_string()],
            evolve,
        )
    }

    /// The documents whose ids the event gives: an `Option` for one or none, a `Vec` for several.
    pub fn multi_stream<I: IntoIterator<Item = String>>(
        collection: impl Into<String>,
        document_ids: impl Fn(&Recorded<E>) -> I + Send + Sync + 'static,
        evolve: impl Fn(Option<D>, &Recorded<E>) -> Option<D> + Send + Sync + 'static,
    ) -> Self {
        let ids = move |recorded: &Recorded<E>| document_ids(recorded).into_iter().collect();
        Self::new(collection.into(), MULTI_STREAM, ids, evolve)
    }

    fn new(
        collection: String,
        kind: &'static str,
        document_ids: impl Fn(&Recorded<E>) -> Vec<String> + Send + Sync + 'static,
        evolve: impl Fn(Option<D>, &Recorded<E>) -> Option<D> + Send + Sync + 'static,
    ) -> Self {
        Self {
            collection,
            version: 1,
            kind,
            handled: HandledEvents::of::<E>(),
            document_ids: Box::new(document_ids),
            evolve: Box::new(evolve),
        }
    }

    /// Handles these message types only. Defaults to all that the event enum has.
    #[must_use]
    pub fn can_handle(mut self, types: &[&str]) -> Self {
        self.handled.only_types(types);
        self
    }

    /// Handles events of streams of these [categories](Event::CATEGORY) only. Defaults to those of the event enum.
    #[must_use]
    pub fn categories(mut self, categories: &[&str]) -> Self {
        self.handled.only_categories(categories);
        self
    }

    /// The version of the code. Defaults to 1.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// The events of each document that is this worker's, by its id. Sorted, so that all writers lock the documents in one
    /// order.
    fn group<'e>(
        &self,
        events: &'e [Recorded<E>],
        context: &ProjectionContext<'_>,
    ) -> anyhow::Result<BTreeMap<String, Vec<&'e Recorded<E>>>> {
        let mut groups: BTreeMap<String, Vec<&Recorded<E>>> = BTreeMap::new();
        for event in events {
            for id in (self.document_ids)(event) {
                check_key("the document id", &id)?;
                if !context.owns(&id) {
                    continue;
                }
                let group = groups.entry(id).or_default();
                // An id that is given twice for one event still means one event.
                if group.last().is_none_or(|last| !std::ptr::eq(*last, event)) {
                    group.push(event);
                }
            }
        }
        Ok(groups)
    }
}

impl<D, E> Projection for DocumentProjection<D, E>
where
    D: Serialize + DeserializeOwned + 'static,
    E: Event + 'static,
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
        Ok(Some((self.document_ids)(&message.decode()?)))
    }

    fn init(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()> {
        let schema = Arc::clone(&context.scope().schema);
        Ok(crate::database::schema::create_collection(
            context.sql()?,
            &schema,
            &self.collection,
        )?)
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
        let events = messages
            .iter()
            .map(|message| message.decode())
            .collect::<Result<Vec<Recorded<E>>, _>>()?;
        let groups = self.group(&events, context)?;
        if groups.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = groups.keys().map(String::as_str).collect();
        let (mut written, mut documents, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        for (id, document) in table.lock::<D>(context.sql()?, &ids)? {
            let Some((id, group)) = groups.get_key_value(&id) else {
                continue;
            };
            match group
                .iter()
                .fold(document, |document, event| (self.evolve)(document, event))
            {
                Some(document) => {
                    written.push(id.as_str());
                    documents.push(table.encode_without_id(&document)?);
                }
                None => deleted.push(id.as_str()),
            }
        }
        table.write(context.sql()?, &written, &documents)?;
        table.delete(context.sql()?, &deleted)?;
        Ok(())
    }
}

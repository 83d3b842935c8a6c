//! Events: plain serde enums, and the raw event that can hold any of them.

use crate::error::{DecodeError, EncodeError, Result};
use crate::events::codec::{self, KnownTypes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

/// An event type: an enum in serde's default representation.
///
/// The variant's name is the message type; its content is the message data. `#[serde(rename)]`, `rename_all` and `alias`
/// work. [`SCHEMA_VERSION`](Event::SCHEMA_VERSION) and [`upcast`](Event::upcast) cover the rest of schema evolution.
///
/// ```
/// use emmett_postgresql::Event;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum ShoppingCartEvent {
///     ProductItemAdded { product_id: String, quantity: u32, price: f64 },
///     #[serde(alias = "Confirmed")]
///     ShoppingCartConfirmed { client_id: String },
/// }
///
/// impl Event for ShoppingCartEvent {}
/// ```
///
/// Reading a stored type that the enum does not know is an error, unless the enum has a unit variant with `#[serde(other)]`.
pub trait Event: Serialize + DeserializeOwned {
    /// Schema version of this type, stored with every message. Raise it when stored content has to be converted. Defaults to
    /// 1.
    const SCHEMA_VERSION: u32 = 1;

    /// Category of the streams that these events belong to: the part of a stream's name before its first `-`. Events of
    /// another category cannot be appended or read as this type. Projections, reactors and the feed skip them. Defaults to
    /// none: events of all streams.
    ///
    /// Set it. Only the category distinguishes two enums that share a type name such as `Created`. Without it, an
    /// `InvoiceEvent::Created` is decoded as an `OrderEvent::Created`. [`doctor`](crate::EventStore::doctor) finds
    /// projections' enums that can be confused.
    ///
    /// ```
    /// use emmett_postgresql::Event;
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Serialize, Deserialize)]
    /// enum OrderEvent { Created { customer: String } }
    /// impl Event for OrderEvent {
    ///     const CATEGORY: &'static str = "Order";
    /// }
    /// ```
    const CATEGORY: &'static str = "";

    /// Categories of an enum that belongs to several. Defaults to [`CATEGORY`](Event::CATEGORY) alone.
    const CATEGORIES: &'static [&'static str] = &[Self::CATEGORY];

    /// Former message types: those that [`upcast`](Event::upcast) renames, splits or drops. Feeds, projections and reactors ask
    /// for them, too, so a type that is missing here cannot become another one. Defaults to none.
    const FORMER_TYPES: &'static [&'static str] = &[];

    /// Converts a stored message before it is decoded: to one event, to several, or to none. Called if its schema version
    /// differs from [`SCHEMA_VERSION`](Event::SCHEMA_VERSION), or if its type is one of the
    /// [`FORMER_TYPES`](Event::FORMER_TYPES). Defaults to returning it unchanged.
    ///
    /// All events of one message have its version, positions, id, type and metadata. Limits and reports count messages. A
    /// dropped message counts for the stream's version and for checkpoints.
    ///
    /// ```
    /// use emmett_postgresql::{Event, RawEvent, events::StoredEvent};
    /// use serde::{Deserialize, Serialize};
    /// use serde_json::json;
    ///
    /// #[derive(Serialize, Deserialize)]
    /// enum OrderEvent {
    ///     Placed { customer: String },
    ///     LineAdded { product: String },
    ///     Confirmed,
    /// }
    ///
    /// impl Event for OrderEvent {
    ///     const CATEGORY: &'static str = "Order";
    ///     const FORMER_TYPES: &'static [&'static str] = &["PlacedWithLines", "Completed", "Viewed"];
    ///
    ///     fn upcast(stored: StoredEvent) -> anyhow::Result<Vec<RawEvent>> {
    ///         Ok(match stored.event_type.as_str() {
    ///             "PlacedWithLines" => {
    ///                 let lines = stored.data["lines"].as_array().into_iter().flatten();
    ///                 let added = lines.map(|line| RawEvent::new("LineAdded", json!({ "product": line })));
    ///                 let placed = RawEvent::new("Placed", json!({ "customer": stored.data["customer"] }));
    ///                 std::iter::once(placed).chain(added).collect()
    ///             }
    ///             "Completed" => vec![RawEvent::new("Confirmed", stored.data)],
    ///             "Viewed" => vec![],
    ///             _ => vec![stored.into()],
    ///         })
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// The reader gets the hook's error as [`Error::Upcast`](crate::Error::Upcast), with the stream, the version and the type.
    /// The same error says that the hook made another type of one that is not among the
    /// [`FORMER_TYPES`](Event::FORMER_TYPES).
    fn upcast(stored: StoredEvent) -> anyhow::Result<Vec<RawEvent>> {
        Ok(vec![stored.into()])
    }

    /// Returns the message type and the JSON of this event. Provided for enums; implementations need not write it.
    ///
    /// # Errors
    /// [`EncodeError`] if the type is not an enum in serde's default representation, or if JSONB cannot hold its content.
    #[doc(hidden)]
    fn encode(&self) -> Result<(Cow<'static, str>, Vec<u8>), EncodeError> {
        let encoded = codec::encode_event(self)?;
        Ok((Cow::Borrowed(encoded.message_type), encoded.data))
    }

    /// Decodes the event from its stored type and JSON. Provided for enums.
    ///
    /// # Errors
    /// [`DecodeError`] if the type is unknown or the content does not fit.
    #[doc(hidden)]
    fn decode(message_type: &str, data: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_event(message_type, data)
    }

    /// Returns the types that this enum can read; `None` for all.
    #[doc(hidden)]
    fn known_types() -> Option<Vec<String>> {
        match codec::known_types::<Self>() {
            KnownTypes::Any => None,
            KnownTypes::Listed(types) => Some(
                types
                    .iter()
                    .chain(Self::FORMER_TYPES)
                    .map(|&name| name.to_owned())
                    .collect(),
            ),
        }
    }

    /// Returns the schema version that is stored with this event.
    #[doc(hidden)]
    fn schema_version(&self) -> u32 {
        Self::SCHEMA_VERSION
    }
}

/// A stored event before it is decoded, for [`Event::upcast`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StoredEvent {
    /// The message type.
    pub event_type: String,
    /// The schema version under which it was stored.
    pub schema_version: u32,
    /// The content.
    pub data: Value,
}

/// An event of any type, as its type's name and its JSON.
///
/// ```
/// use emmett_postgresql::RawEvent;
/// let event = RawEvent::new("ProductItemAdded", serde_json::json!({"productId": "shoes-1"}));
/// assert_eq!(event.event_type, "ProductItemAdded");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RawEvent {
    /// The message type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The content.
    pub data: Value,
}

impl RawEvent {
    /// Creates an event with this type and content.
    pub fn new(event_type: impl Into<String>, data: Value) -> Self {
        Self {
            event_type: event_type.into(),
            data,
        }
    }
}

impl From<StoredEvent> for RawEvent {
    fn from(stored: StoredEvent) -> Self {
        Self::new(stored.event_type, stored.data)
    }
}

impl Event for RawEvent {
    fn encode(&self) -> Result<(Cow<'static, str>, Vec<u8>), EncodeError> {
        Ok((
            Cow::Owned(self.event_type.clone()),
            crate::json::to_json(&self.data)?,
        ))
    }

    fn decode(message_type: &str, data: &[u8]) -> Result<Self, DecodeError> {
        let data = serde_json::from_slice(data).map_err(DecodeError::Json)?;
        Ok(Self::new(message_type, data))
    }

    fn known_types() -> Option<Vec<String>> {
        None
    }
}

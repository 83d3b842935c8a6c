//! Messages: to append, and as recorded.

use crate::database::check_text;
use crate::error::{DecodeError, Error, Result};
use crate::events::category::check_category;
use crate::events::event::Event;
use crate::events::upcast::{Encoded, Events};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;
use uuid::Uuid;

/// The kind of a message: an event or a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// Something that happened. The default.
    #[default]
    Event,
    /// A request to do something.
    Command,
}

impl MessageKind {
    pub(crate) fn as_sql(self) -> &'static str {
        match self {
            Self::Event => "E",
            Self::Command => "C",
        }
    }

    pub(crate) fn from_sql(kind: &str) -> Result<Self, Damage> {
        match kind {
            "E" => Ok(Self::Event),
            "C" => Ok(Self::Command),
            _ => Err(Damage::Kind(kind.to_owned())),
        }
    }
}

/// A message to append: an event with an id, causes and metadata.
///
/// Events without any of these can be appended directly.
///
/// ```
/// # use emmett_postgresql::{Event, NewMessage};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Cart { Confirmed { client: String } }
/// # impl Event for Cart {}
/// let message = NewMessage::new(Cart::Confirmed { client: "anna".into() })
///     .message_id("order-17-confirmed")
///     .correlation_id("checkout-4")
///     .metadata("clientId", "anna");
/// ```
#[derive(Debug, Clone)]
pub struct NewMessage<E> {
    event: E,
    kind: MessageKind,
    message_id: Option<String>,
    metadata: NewMetadata,
}

impl<E: Event> NewMessage<E> {
    /// Creates a message with a generated id and no metadata.
    pub fn new(event: E) -> Self {
        Self {
            event,
            kind: MessageKind::Event,
            message_id: None,
            metadata: NewMetadata::default(),
        }
    }

    /// Kind of the message. Defaults to [`MessageKind::Event`].
    #[must_use]
    pub fn kind(mut self, kind: MessageKind) -> Self {
        self.kind = kind;
        self
    }

    /// Id of the message, which makes the append idempotent: appending the same message again returns the first result. A
    /// caller that does not know whether an append was stored can repeat it. Defaults to a new UUID, version 7.
    #[must_use]
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// Id that all messages of one conversation share. Defaults to none.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.metadata.correlation_id = Some(id.into());
        self
    }

    /// Id of the message that caused this one. Defaults to none.
    #[must_use]
    pub fn causation_id(mut self, id: impl Into<String>) -> Self {
        self.metadata.causation_id = Some(id.into());
        self
    }

    /// Adds a field to the metadata. The append refuses the names that the store itself uses: `messageId`, `correlationId`,
    /// `causationId`, `streamName`, `streamPosition`, `globalPosition` and `checkpoint`.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.own.insert(name.into(), value.into());
        self
    }
}

/// Types that can be appended: an [`Event`], or a [`NewMessage`] around one.
pub trait Appendable: private::Encode {}

impl<E: Event> Appendable for E {}
impl<E: Event> Appendable for NewMessage<E> {}

pub(crate) mod private {
    use super::OutgoingMessage;
    use crate::error::Result;

    pub trait Encode {
        /// Encodes the message for sending and checks its JSON.
        #[doc(hidden)]
        fn encode(&self, stream: &str) -> Result<OutgoingMessage>;
    }
}

impl<E: Event> private::Encode for E {
    fn encode(&self, stream: &str) -> Result<OutgoingMessage> {
        OutgoingMessage::new(stream, self)
    }
}

impl<E: Event> private::Encode for NewMessage<E> {
    fn encode(&self, stream: &str) -> Result<OutgoingMessage> {
        let mut message = OutgoingMessage::new(stream, &self.event)?;
        message.kind = self.kind;
        if let Some(id) = &self.message_id {
            message.message_id = checked_text("the message id", id)?;
            message.has_own_id = true;
        }
        message.metadata = self.metadata.encode()?;
        Ok(message)
    }
}

pub(crate) const CORRELATION_ID: &str = "correlationId";
pub(crate) const CAUSATION_ID: &str = "causationId";
/// Metadata fields that Emmett stores beside the user's own. Here they are columns.
const RESERVED_METADATA: [&str; 7] = [
    CORRELATION_ID,
    CAUSATION_ID,
    "messageId",
    "streamName",
    "streamPosition",
    "globalPosition",
    "checkpoint",
];

/// Metadata of a message to append.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewMetadata {
    pub(crate) correlation_id: Option<String>,
    pub(crate) causation_id: Option<String>,
    pub(crate) own: Map<String, Value>,
}

impl NewMetadata {
    /// Returns the object that is stored.
    pub(crate) fn encode(&self) -> Result<Map<String, Value>> {
        if let Some(name) = self
            .own
            .keys()
            .find(|name| RESERVED_METADATA.contains(&name.as_str()))
        {
            return Err(Error::invalid(
                format!("metadata field \"{name}\""),
                "the store uses this name itself: choose another name",
            ));
        }
        let mut metadata = self.own.clone();
        for (name, id) in [
            (CORRELATION_ID, &self.correlation_id),
            (CAUSATION_ID, &self.causation_id),
        ] {
            if let Some(id) = id {
                metadata.insert(name.to_owned(), Value::from(checked_text(name, id)?));
            }
        }
        Ok(metadata)
    }
}

/// A message in the form in which it is sent to the database.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct OutgoingMessage {
    pub(crate) message_id: String,
    /// The caller supplied the id, so it may be the id of a stored message.
    pub(crate) has_own_id: bool,
    pub(crate) message_type: Cow<'static, str>,
    pub(crate) kind: MessageKind,
    pub(crate) schema_version: u32,
    pub(crate) data: Vec<u8>,
    pub(crate) metadata: Map<String, Value>,
    /// `metadata` as JSON text.
    pub(crate) metadata_json: Vec<u8>,
}

impl OutgoingMessage {
    /// Decodes the message as its readers will.
    pub(crate) fn decode<E: Event>(&self, stream: &str, version: u64) -> Result<Events<E>> {
        let encoded = Encoded {
            stream,
            version,
            message_type: &self.message_type,
            schema_version: self.schema_version,
            data: &self.data,
        };
        encoded.decode(None)
    }

    fn new<E: Event>(stream: &str, event: &E) -> Result<Self> {
        check_category::<E>(stream)?;
        Self::of_any_category(stream, event)
    }

    /// Encodes an event for a stream that has events of all categories.
    pub(crate) fn of_any_category<E: Event>(stream: &str, event: &E) -> Result<Self> {
        let (message_type, data) = event.encode().map_err(|source| Error::Encode {
            stream: stream.to_owned(),
            source,
        })?;
        Self::from_stored(message_type, event.schema_version(), data)
    }

    /// Creates an event from its stored form.
    pub(crate) fn from_stored(
        message_type: Cow<'static, str>,
        schema_version: u32,
        data: Vec<u8>,
    ) -> Result<Self> {
        check_text("the message type", &message_type)?;
        Ok(Self {
            message_id: Uuid::now_v7().to_string(),
            has_own_id: false,
            message_type,
            kind: MessageKind::Event,
            schema_version,
            data,
            metadata: Map::new(),
            metadata_json: b"{}".to_vec(),
        })
    }

    /// Adds the metadata that all messages of an append share. The message's own fields win.
    pub(crate) fn complete(mut self, stream: &str, shared: &Map<String, Value>) -> Result<Self> {
        for (name, value) in shared {
            if !self.metadata.contains_key(name) {
                self.metadata.insert(name.clone(), value.clone());
            }
        }
        if !self.metadata.is_empty() {
            self.metadata_json =
                crate::json::to_json(&self.metadata).map_err(|source| Error::Encode {
                    stream: stream.to_owned(),
                    source: source.into(),
                })?;
        }
        Ok(self)
    }
}

fn checked_text(what: &str, text: &str) -> Result<String> {
    check_text(what, text)?;
    Ok(text.to_owned())
}

/// A stored message as an event of type `E`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Recorded<E> {
    /// The event.
    pub event: E,
    /// The stream of the event.
    pub stream_name: Arc<str>,
    /// Version of the message in the stream: 1, 2, 3 … All events of an [upcast](Event::upcast) message have the same.
    pub stream_position: u64,
    /// Position of the message among all messages of the store. Increases along every stream; there can be gaps.
    pub global_position: u64,
    /// Message id.
    pub message_id: String,
    /// Message type: the name of the enum's variant when it was stored.
    pub message_type: String,
    /// Event or command.
    pub kind: MessageKind,
    /// Schema version of the type when the event was stored. 1 unless the type declares another.
    pub schema_version: u32,
    /// Start time of the transaction that appended it, by the clock of the database server. An imported message keeps the time
    /// of its log.
    pub recorded_at: SystemTime,
    /// Id that all messages of one conversation share.
    pub correlation_id: Option<String>,
    /// Id of the message that caused this one.
    pub causation_id: Option<String>,
    /// The user's own metadata.
    pub metadata: Map<String, Value>,
}

impl Recorded<()> {
    /// Returns the events of this message, with its positions, ids and metadata.
    pub(crate) fn with_each<E>(
        self,
        events: Events<E>,
    ) -> impl DoubleEndedIterator<Item = Recorded<E>> + ExactSizeIterator + use<E> {
        // The last repetition is the message itself: one event needs no copy.
        std::iter::repeat_n(self, events.len())
            .zip(events)
            .map(|(message, event)| Recorded {
                event,
                stream_name: message.stream_name,
                stream_position: message.stream_position,
                global_position: message.global_position,
                message_id: message.message_id,
                message_type: message.message_type,
                kind: message.kind,
                schema_version: message.schema_version,
                recorded_at: message.recorded_at,
                correlation_id: message.correlation_id,
                causation_id: message.causation_id,
                metadata: message.metadata,
            })
    }
}

/// A stored message whose event has not been decoded yet.
#[derive(Debug, Clone)]
pub struct RecordedMessage {
    pub(crate) stream_name: Arc<str>,
    pub(crate) stream_position: u64,
    pub(crate) global_position: u64,
    pub(crate) message_id: String,
    pub(crate) message_type: String,
    pub(crate) kind: MessageKind,
    pub(crate) schema_version: u32,
    pub(crate) recorded_at: SystemTime,
    pub(crate) data: Vec<u8>,
    pub(crate) metadata: Vec<u8>,
    /// A column beside the data that cannot be read. Decoding the message reports it, so the handler of the message deals
    /// with it and the feed continues.
    pub(crate) damage: Option<Damage>,
}

/// A column with a value that no writer should have stored, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Damage {
    Kind(String),
    SchemaVersion(String),
}

/// Emmett writes the version in quotes.
pub(crate) fn parse_schema_version(text: &str) -> Result<u32, Damage> {
    let unquoted = ['"', '\''].iter().find_map(|quote| {
        let text = text.strip_prefix(*quote)?;
        text.strip_suffix(*quote)
    });
    let version = unquoted.unwrap_or(text).parse();
    version.map_err(|_| Damage::SchemaVersion(text.to_owned()))
}

impl From<Damage> for DecodeError {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::Kind(kind) => Self::UnknownKind { kind },
            Damage::SchemaVersion(version) => Self::SchemaVersion { version },
        }
    }
}

impl RecordedMessage {
    /// Returns the message's type.
    pub fn message_type(&self) -> &str {
        &self.message_type
    }

    /// Returns the name of the message's stream.
    pub fn stream_name(&self) -> &str {
        &self.stream_name
    }

    /// Returns the message's version in the stream.
    pub fn stream_position(&self) -> u64 {
        self.stream_position
    }

    /// Returns the message's position among all messages of the store.
    pub fn global_position(&self) -> u64 {
        self.global_position
    }

    /// Returns the place of the message, for error texts.
    pub(crate) fn place(&self) -> String {
        format!(
            "message {} of stream \"{}\", type \"{}\", at global position {}",
            self.stream_position, self.stream_name, self.message_type, self.global_position
        )
    }

    pub(crate) fn unreadable(&self, source: impl Into<DecodeError>) -> Error {
        Error::Decode {
            stream: self.stream_name.to_string(),
            version: self.stream_position,
            message_type: self.message_type.clone(),
            source: source.into(),
        }
    }

    /// Fails if the kind or the schema version cannot be read.
    pub(crate) fn refuse_damaged(&self) -> Result<()> {
        match &self.damage {
            Some(damage) => Err(self.unreadable(damage.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn parse_metadata(&self) -> Result<Metadata> {
        Metadata::parse(&self.metadata).map_err(|source| self.unreadable(source))
    }

    /// Decodes the message as events of type `E`: one, unless [`upcast`](Event::upcast) splits or drops it.
    ///
    /// # Errors
    /// - [`Error::InvalidInput`] if the stream is of another [category](Event::CATEGORY) than `E`.
    /// - [`Error::Decode`] if `E` does not have the type or the content does not fit. Also if the kind, schema version or
    ///   metadata cannot be read.
    /// - [`Error::Upcast`] if `E`'s hook refuses the message.
    pub fn decode<E: Event>(&self) -> Result<impl Iterator<Item = Recorded<E>> + use<E>> {
        self.decode_types(None)
    }

    /// Decodes the message. With `types`, keeps only the events that the upcast hook makes of these types.
    pub(crate) fn decode_types<E: Event>(
        &self,
        types: Option<&[String]>,
    ) -> Result<impl Iterator<Item = Recorded<E>> + use<E>> {
        check_category::<E>(&self.stream_name)?;
        self.decode_any_category(types)
    }

    /// The same for a message of a stream that has events of all categories.
    pub(crate) fn decode_any_category<E: Event>(
        &self,
        types: Option<&[String]>,
    ) -> Result<impl Iterator<Item = Recorded<E>> + use<E>> {
        self.refuse_damaged()?;
        let encoded = Encoded {
            stream: &self.stream_name,
            version: self.stream_position,
            message_type: &self.message_type,
            schema_version: self.schema_version,
            data: &self.data,
        };
        let events = encoded.decode(types)?;
        let Metadata {
            correlation_id,
            causation_id,
            own,
        } = self.parse_metadata()?;
        let message = Recorded {
            event: (),
            stream_name: Arc::clone(&self.stream_name),
            stream_position: self.stream_position,
            global_position: self.global_position,
            message_id: self.message_id.clone(),
            message_type: self.message_type.clone(),
            kind: self.kind,
            schema_version: self.schema_version,
            recorded_at: self.recorded_at,
            correlation_id,
            causation_id,
            metadata: own,
        };
        Ok(message.with_each(events))
    }
}

/// Stored metadata, split into its parts.
pub(crate) struct Metadata {
    pub(crate) correlation_id: Option<String>,
    pub(crate) causation_id: Option<String>,
    pub(crate) own: Map<String, Value>,
}

impl Metadata {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, DecodeError> {
        let mut own: Map<String, Value> = if json == b"{}" {
            Map::new()
        } else {
            serde_json::from_slice(json).map_err(|error| DecodeError::Metadata {
                reason: format!("is not an object that can be read: {error}"),
            })?
        };
        let correlation_id = take_text(&mut own, CORRELATION_ID)?;
        let causation_id = take_text(&mut own, CAUSATION_ID)?;
        if !own.is_empty() {
            own.retain(|name, _| !RESERVED_METADATA.contains(&name.as_str()));
        }
        Ok(Self {
            correlation_id,
            causation_id,
            own,
        })
    }
}

fn take_text(map: &mut Map<String, Value>, name: &str) -> Result<Option<String>, DecodeError> {
    match map.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(DecodeError::Metadata {
            reason: format!("has the {name} {other}, which is not a text"),
        }),
    }
}

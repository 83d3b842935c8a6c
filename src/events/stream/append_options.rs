//! Options of an append.

use crate::database::ExpectedVersion;
use crate::error::Result;
use crate::events::message::{Appendable, NewMetadata, RecordedMessage};
use crate::events::stream::StreamAppend;
use serde_json::Value;

/// Expected version of an append, and metadata that all its messages share.
///
/// ```
/// use emmett_postgresql::{AppendOptions, ExpectedVersion};
/// let third = AppendOptions::new().expected_version(2);
/// let first = AppendOptions::new().expect(ExpectedVersion::DoesNotExist).correlation_id("checkout-4");
/// ```
#[derive(Debug, Clone, Default)]
pub struct AppendOptions {
    expected: ExpectedVersion,
    metadata: NewMetadata,
}

impl AppendOptions {
    /// Options for any version and no shared metadata.
    pub fn new() -> Self {
        Self::default()
    }

    /// Version that the stream must have: the version of its last message, or 0 if it must not exist. Defaults to any
    /// version.
    #[must_use]
    pub fn expected_version(self, version: u64) -> Self {
        self.expect(ExpectedVersion::Exact(version))
    }

    /// State that the stream must be in. Defaults to [`ExpectedVersion::Any`].
    #[must_use]
    pub fn expect(mut self, expected: ExpectedVersion) -> Self {
        self.expected = expected;
        self
    }

    /// Correlation id of the messages that have none. Defaults to none.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.metadata.correlation_id = Some(id.into());
        self
    }

    /// Causation id of the messages that have none. Defaults to none.
    #[must_use]
    pub fn causation_id(mut self, id: impl Into<String>) -> Self {
        self.metadata.causation_id = Some(id.into());
        self
    }

    /// Metadata field of the messages that do not have it. Defaults to none.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.own.insert(name.into(), value.into());
        self
    }

    /// Takes ids from the message that the append answers, unless the options have them.
    pub(crate) fn caused_by(mut self, cause: &RecordedMessage) -> Result<Self> {
        let (correlation, causation) = (
            &mut self.metadata.correlation_id,
            &mut self.metadata.causation_id,
        );
        causation.get_or_insert_with(|| cause.message_id.clone());
        if correlation.is_none() {
            let known = cause.parse_metadata()?.correlation_id;
            *correlation = Some(known.unwrap_or_else(|| cause.message_id.clone()));
        }
        Ok(self)
    }

    /// Validates and encodes an append. Nothing is sent.
    pub(crate) fn prepare<A: Appendable>(
        &self,
        stream: &str,
        messages: &[A],
    ) -> Result<StreamAppend> {
        let shared = self.metadata.encode()?;
        let messages = messages
            .iter()
            .map(|message| message.encode(stream)?.complete(stream, &shared))
            .collect::<Result<Vec<_>>>()?;
        StreamAppend::new(stream, self.expected, messages)
    }
}

impl StreamAppend {
    /// Takes ids from the message that the append answers, for messages that have none.
    pub(crate) fn caused_by(mut self, cause: &RecordedMessage) -> Result<Self> {
        let shared = AppendOptions::new().caused_by(cause)?.metadata.encode()?;
        self.messages = self
            .messages
            .into_iter()
            .map(|message| message.complete(&self.stream, &shared))
            .collect::<Result<_>>()?;
        Ok(self)
    }
}

/// The messages for one stream in an append to several streams.
///
/// ```no_run
/// # use emmett_postgresql::{AppendOptions, EventStore, RawEvent, StreamMessages};
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// # let store = EventStore::builder("postgresql://localhost/shop").open()?;
/// # let reserved = RawEvent::new("StockReserved", serde_json::json!({"count": 1}));
/// # let placed = RawEvent::new("OrderPlaced", serde_json::json!({"total": 20}));
/// let appended = store.append_to_streams(vec![
///     StreamMessages::new("Stock-7", &[reserved])?,
///     StreamMessages::with("Order-1", &[placed], &AppendOptions::new().expected_version(0))?,
/// ])?;
/// assert_eq!(appended.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct StreamMessages(pub(crate) StreamAppend);

impl StreamMessages {
    /// Creates an append to a stream at any version.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) or [`Error::Encode`](crate::Error::Encode) if the name or a message
    /// cannot be stored.
    pub fn new<A: Appendable>(stream: &str, messages: &[A]) -> Result<Self> {
        Self::with(stream, messages, &AppendOptions::new())
    }

    /// Creates an append to a stream, with options.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) or [`Error::Encode`](crate::Error::Encode) if the name or a message
    /// cannot be stored.
    pub fn with<A: Appendable>(
        stream: &str,
        messages: &[A],
        options: &AppendOptions,
    ) -> Result<Self> {
        options.prepare(stream, messages).map(Self)
    }

    /// No messages, but a condition: the stream must be at this version when the others are appended to. Until the
    /// transaction ends, nobody appends to it. [`ExpectedVersion::DoesNotExist`] holds a name: no other transaction begins
    /// that stream meanwhile.
    ///
    /// Two calls that each read two streams and append to one of them cannot both succeed.
    ///
    /// ```no_run
    /// # use emmett_postgresql::{EventStore, ExpectedVersion, RawEvent, StreamMessages};
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = EventStore::builder("postgresql://localhost/shop").open()?;
    /// # let placed = RawEvent::new("OrderPlaced", serde_json::json!({"total": 20}));
    /// store.append_to_streams(vec![
    ///     StreamMessages::require("Customer-7", ExpectedVersion::Exact(4))?,
    ///     StreamMessages::new("Order-1", &[placed])?,
    /// ])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the name cannot be that of a stream; [`Error::InvalidInput`](crate::Error::InvalidInput) for [`ExpectedVersion::Any`], which requires
    /// nothing.
    pub fn require(stream: &str, expected: ExpectedVersion) -> Result<Self> {
        StreamAppend::condition(stream, expected).map(Self)
    }
}

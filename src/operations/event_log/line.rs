//! One line of an event log.

use super::line_fault::explain;
use super::recorded_at;
use crate::database::check_text;
use crate::error::{Error, Result};
use crate::events::stream::check_stream_name;
use crate::events::stream_states::StreamState;
use crate::events::{MessageKind, RecordedMessage};
use crate::json::check_json_text;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;
use uuid::Uuid;

/// A line as it stands in the file: a message, or what its stream is like. `line_fault` knows these keys, too.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    stream_name: Cow<'a, str>,
    #[serde(
        rename = "type",
        default,
        borrow,
        deserialize_with = "never_null",
        skip_serializing_if = "Option::is_none"
    )]
    message_type: Option<Cow<'a, str>>,
    #[serde(
        default,
        borrow,
        deserialize_with = "even_null",
        skip_serializing_if = "Option::is_none"
    )]
    data: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    message_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_position: Option<u64>,
    #[serde(default, skip_serializing_if = "LineKind::is_event")]
    kind: LineKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_version: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    recorded_at: Option<Cow<'a, str>>,
    /// For those who read the log. An import draws it anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    global_position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archived: Option<bool>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    stream_metadata: Option<&'a RawValue>,
}

/// `null` is data like any other.
fn even_null<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A type that is null is no line about a stream.
fn never_null<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'a, str>>, D::Error> {
    Cow::deserialize(deserializer).map(Some)
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LineKind {
    #[default]
    #[serde(alias = "Event", alias = "E")]
    Event,
    #[serde(alias = "Command", alias = "C")]
    Command,
}

impl LineKind {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the form that serde calls"
    )]
    fn is_event(&self) -> bool {
        matches!(self, Self::Event)
    }
}

impl From<LineKind> for MessageKind {
    fn from(kind: LineKind) -> Self {
        match kind {
            LineKind::Event => Self::Event,
            LineKind::Command => Self::Command,
        }
    }
}

/// A checked line.
pub(super) enum Entry {
    Message(MessageEntry),
    Stream(StreamEntry),
}

/// A message, whose positions are not known yet.
pub(super) struct MessageEntry {
    /// Where the stream has to be, says the line.
    pub(super) expected_position: Option<u64>,
    /// Whether the line has the message's id.
    pub(super) has_own_id: bool,
    /// Whether the line has the message's time.
    pub(super) has_own_time: bool,
    pub(super) message: RecordedMessage,
}

/// What a stream is like.
pub(super) struct StreamEntry {
    pub(super) stream_name: String,
    pub(super) archived: Option<bool>,
    pub(super) metadata: Option<Vec<u8>>,
}

impl Entry {
    /// Reads a line; the error says what is wrong with it. `is_ended`: the line has its end, so it was written whole.
    pub(super) fn parse(text: &[u8], is_ended: bool) -> Result<Self, String> {
        let line: Line<'_> =
            serde_json::from_slice(text).map_err(|error| explain(text, is_ended, &error))?;
        check_stream_name(&line.stream_name).map_err(in_words)?;
        match (&line.message_type, line.data) {
            (Some(message_type), Some(data)) => line.message(message_type, data),
            (None, None) => line.stream(),
            (Some(_), None) => Err(missing("data")),
            (None, Some(_)) => Err(missing("type")),
        }
    }
}

fn missing(key: &str) -> String {
    format!("the key \"{key}\" is missing: a message has \"streamName\", \"type\" and \"data\"")
}

impl<'a> Line<'a> {
    fn message(&self, message_type: &str, data: &RawValue) -> Result<Entry, String> {
        check_text("the message type", message_type).map_err(in_words)?;
        if let Some(id) = &self.message_id {
            check_text("the message id", id).map_err(in_words)?;
        }
        let recorded_at = self.recorded_at.as_deref().map(recorded_at::parse);
        let recorded_at = recorded_at
            .transpose()
            .map_err(|reason| format!("the key \"recordedAt\" {reason}"))?;
        check_json_text(data.get().as_bytes()).map_err(|error| format!("data: {error}"))?;
        let metadata = self
            .metadata
            .map(|metadata| checked_object("metadata", metadata));
        let metadata = metadata.transpose()?;
        self.refuse_state_of_stream()?;
        Ok(Entry::Message(MessageEntry {
            expected_position: self.stream_position,
            has_own_id: self.message_id.is_some(),
            has_own_time: recorded_at.is_some(),
            message: RecordedMessage {
                stream_name: Arc::from(&*self.stream_name),
                stream_position: 0,
                global_position: 0,
                message_id: self
                    .message_id
                    .as_ref()
                    .map_or_else(|| Uuid::now_v7().to_string(), ToString::to_string),
                message_type: message_type.to_owned(),
                kind: MessageKind::from(self.kind),
                schema_version: self.schema_version.unwrap_or(1),
                recorded_at: recorded_at.unwrap_or(SystemTime::UNIX_EPOCH),
                data: data.get().as_bytes().to_vec(),
                metadata: metadata.unwrap_or_else(|| b"{}".to_vec()),
                damage: None,
            },
        }))
    }

    /// Beside a message, it would not be clear whether it counts before or after the stream's other messages.
    fn refuse_state_of_stream(&self) -> Result<(), String> {
        let state = [
            ("archived", self.archived.is_some(), "true"),
            ("streamMetadata", self.stream_metadata.is_some(), "{…}"),
        ];
        let Some((key, _, value)) = state.into_iter().find(|(_, is_there, _)| *is_there) else {
            return Ok(());
        };
        Err(format!(
            "the key \"{key}\" is the stream's and not the message's: write it in a line of its own after the stream's messages, \
             {{\"streamName\": {:?}, \"{key}\": {value}}}",
            self.stream_name
        ))
    }

    fn stream(&self) -> Result<Entry, String> {
        if self.archived.is_none() && self.stream_metadata.is_none() {
            return Err(
                "the keys \"type\" and \"data\" are missing; a line about a stream has \"archived\" or \"streamMetadata\""
                    .to_owned(),
            );
        }
        let of_messages = [
            ("metadata", self.metadata.is_some()),
            ("messageId", self.message_id.is_some()),
            ("streamPosition", self.stream_position.is_some()),
            ("kind", self.kind != LineKind::Event),
            ("schemaVersion", self.schema_version.is_some()),
            ("recordedAt", self.recorded_at.is_some()),
            ("globalPosition", self.global_position.is_some()),
        ];
        if let Some((key, _)) = of_messages.into_iter().find(|(_, is_there)| *is_there) {
            return Err(format!(
                "the key \"{key}\" is a message's, but the line is about a stream: it has neither \"type\" nor \"data\""
            ));
        }
        let metadata = self
            .stream_metadata
            .map(|metadata| checked_object("streamMetadata", metadata));
        Ok(Entry::Stream(StreamEntry {
            stream_name: self.stream_name.to_string(),
            archived: self.archived,
            metadata: metadata.transpose()?,
        }))
    }

    pub(super) fn of_message(message: &'a RecordedMessage, with_position: bool) -> Result<Self> {
        let has_metadata = message.metadata != b"{}";
        Ok(Self {
            stream_name: Cow::Borrowed(&message.stream_name),
            message_type: Some(Cow::Borrowed(&message.message_type)),
            data: Some(stored_json("the data of a message", &message.data)?),
            metadata: has_metadata
                .then(|| stored_json("the metadata of a message", &message.metadata))
                .transpose()?,
            message_id: Some(Cow::Borrowed(&message.message_id)),
            stream_position: Some(message.stream_position),
            kind: match message.kind {
                MessageKind::Event => LineKind::Event,
                MessageKind::Command => LineKind::Command,
            },
            schema_version: (message.schema_version != 1).then_some(message.schema_version),
            recorded_at: Some(Cow::Owned(recorded_at::format(message.recorded_at)?)),
            global_position: with_position.then_some(message.global_position),
            ..Self::default()
        })
    }

    pub(super) fn of_stream(state: &StreamState<'a>) -> Result<Self> {
        let has_metadata = state.metadata != b"{}";
        Ok(Self {
            stream_name: Cow::Borrowed(state.stream_name),
            archived: state.is_archived.then_some(true),
            stream_metadata: has_metadata
                .then(|| stored_json("the metadata of a stream", state.metadata))
                .transpose()?,
            ..Self::default()
        })
    }
}

fn checked_object(key: &str, object: &RawValue) -> Result<Vec<u8>, String> {
    let text = object.get().as_bytes();
    if !text.starts_with(b"{") {
        return Err(format!("{key}: must be an object"));
    }
    check_json_text(text).map_err(|error| format!("{key}: {error}"))?;
    Ok(text.to_vec())
}

fn stored_json<'a>(what: &str, json: &'a [u8]) -> Result<&'a RawValue> {
    serde_json::from_slice(json)
        .map_err(|_| Error::stored(what, String::from_utf8_lossy(json), "JSON"))
}

fn in_words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

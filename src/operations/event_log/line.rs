//! One line of an event log.

use crate::database::check_text;
use crate::events::stream::check_stream_name;
use crate::events::{MessageKind, RecordedMessage};
use crate::json::check_json_text;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A line as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    pub(super) stream_name: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    pub(super) message_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) data: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) message_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream_position: Option<u64>,
    #[serde(default, skip_serializing_if = "LineKind::is_event")]
    pub(super) kind: LineKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) schema_version: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LineKind {
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

impl<'a> Line<'a> {
    /// Reads a line; the error says what is wrong with it.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, String> {
        let line: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        line.check()?;
        Ok(line)
    }

    fn check(&self) -> Result<(), String> {
        check_stream_name(&self.stream_name).map_err(|error| error.to_string())?;
        check_text("the message type", &self.message_type).map_err(|error| error.to_string())?;
        if let Some(id) = &self.message_id {
            check_text("the message id", id).map_err(|error| error.to_string())?;
        }
        check_json_text(self.data.get().as_bytes()).map_err(|error| format!("data: {error}"))?;
        let Some(metadata) = self.metadata else {
            return Ok(());
        };
        if !metadata.get().starts_with('{') {
            return Err("metadata: must be an object".to_owned());
        }
        check_json_text(metadata.get().as_bytes()).map_err(|error| format!("metadata: {error}"))
    }

    pub(super) fn of(message: &'a RecordedMessage) -> serde_json::Result<Self> {
        let has_metadata = message.metadata != b"{}";
        Ok(Self {
            stream_name: Cow::Borrowed(&message.stream_name),
            message_type: Cow::Borrowed(&message.message_type),
            data: serde_json::from_slice(&message.data)?,
            metadata: if has_metadata {
                Some(serde_json::from_slice(&message.metadata)?)
            } else {
                None
            },
            message_id: Some(Cow::Borrowed(&message.message_id)),
            stream_position: Some(message.stream_position),
            kind: match message.kind {
                MessageKind::Event => LineKind::Event,
                MessageKind::Command => LineKind::Command,
            },
            schema_version: (message.schema_version != 1).then_some(message.schema_version),
        })
    }
}

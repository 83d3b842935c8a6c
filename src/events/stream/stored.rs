//! What goes into an append, and what the database says that it did.

use super::name::check_stream_name;
use crate::database::position::from_sql;
use crate::database::{ExpectedVersion, Jsonb};
use crate::error::{Error, Result};
use crate::events::message::{OutgoingMessage, RecordedMessage};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The stream's version now: what the next append can expect.
    pub next_expected_version: u64,
    /// Whether the append began the stream.
    pub created_new_stream: bool,
    /// The position of the append's last message among all messages of the store.
    pub last_global_position: u64,
    /// The positions of all its messages.
    pub global_positions: Vec<u64>,
    /// The messages had been appended before, under the same message ids; nothing was stored now.
    pub already_appended: bool,
}

/// Checked messages for one stream.
#[derive(Debug)]
pub(crate) struct StreamAppend {
    pub(crate) stream: Arc<str>,
    pub(crate) expected: ExpectedVersion,
    pub(crate) messages: Vec<OutgoingMessage>,
}

impl StreamAppend {
    pub(crate) fn new(
        stream: &str,
        expected: ExpectedVersion,
        messages: Vec<OutgoingMessage>,
    ) -> Result<Self> {
        check_stream_name(stream)?;
        if messages.is_empty() {
            return Err(Error::invalid(
                format!("the append to stream \"{stream}\""),
                "has no messages",
            ));
        }
        let append = Self {
            stream: stream.into(),
            expected,
            messages,
        };
        append.refuse_repeated_ids()?;
        Ok(append)
    }

    fn refuse_repeated_ids(&self) -> Result<()> {
        if !self.has_own_ids() {
            return Ok(());
        }
        let mut ids: Vec<&str> = self
            .messages
            .iter()
            .map(|message| message.message_id.as_str())
            .collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::invalid(
                format!("message id \"{}\"", pair[0]),
                "is given twice in one append",
            )),
            None => Ok(()),
        }
    }

    pub(crate) fn has_own_ids(&self) -> bool {
        self.messages.iter().any(|message| message.has_own_id)
    }

    /// The messages as they are stored now.
    pub(crate) fn recorded(&self, stored: &Stored) -> Vec<RecordedMessage> {
        let first = stored.version - self.messages.len() as u64 + 1;
        let messages = self
            .messages
            .iter()
            .zip(&stored.global_positions)
            .zip(first..);
        messages
            .map(
                |((message, &global_position), stream_position)| RecordedMessage {
                    stream_name: Arc::clone(&self.stream),
                    stream_position,
                    global_position,
                    message_id: message.message_id.clone(),
                    message_type: message.message_type.clone().into_owned(),
                    kind: message.kind,
                    schema_version: message.schema_version,
                    recorded_at: stored.recorded_at,
                    data: message.data.clone(),
                    metadata: message.metadata_json.clone(),
                },
            )
            .collect()
    }
}

/// The inline projections that an append names: they are locked and their versions checked in its round trip.
#[derive(Debug, Clone, Default)]
pub(crate) struct InlineVersions {
    pub(crate) names: Vec<String>,
    pub(crate) versions: Vec<i32>,
    /// The versions by name, as appends send them.
    json: Vec<u8>,
}

impl InlineVersions {
    pub(crate) fn new(names: Vec<String>, versions: Vec<i32>) -> Self {
        let by_name: Map<String, Value> = names
            .iter()
            .cloned()
            .zip(versions.iter().map(|version| Value::from(*version)))
            .collect();
        Self {
            names,
            versions,
            json: Value::Object(by_name).to_string().into_bytes(),
        }
    }

    pub(crate) fn as_jsonb(&self) -> Jsonb<'_> {
        Jsonb(&self.json)
    }
}

/// What the database stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) version: u64,
    pub(crate) recorded_at: SystemTime,
    pub(crate) global_positions: Vec<u64>,
    pub(crate) already_appended: bool,
}

impl Stored {
    /// How many messages were stored now.
    pub(crate) fn newly_appended(&self) -> usize {
        if self.already_appended {
            return 0;
        }
        self.global_positions.len()
    }

    /// Reads the codes that `emt_append` returns.
    pub(super) fn from_sql(append: &StreamAppend, result: &[i64]) -> Result<Self> {
        let stream = || append.stream.to_string();
        match result {
            [code @ (0 | 3), version, time, positions @ ..] => Ok(Self {
                version: from_sql(*version),
                recorded_at: SystemTime::UNIX_EPOCH + Duration::from_micros(from_sql(*time)),
                global_positions: positions.iter().copied().map(from_sql).collect(),
                already_appended: *code == 3,
            }),
            [2, version] => Err(Error::StreamArchived {
                stream: stream(),
                version: from_sql(*version),
            }),
            [1, version] => Err(Error::Conflict {
                stream: stream(),
                expected: append.expected,
                actual: from_sql(*version),
            }),
            other => Err(Error::schema(format!(
                "the function emt_append answered {other:?}, which this version of the library does not understand"
            ))),
        }
    }
}

impl From<Stored> for Appended {
    fn from(stored: Stored) -> Self {
        let count = stored.global_positions.len() as u64;
        Self {
            next_expected_version: stored.version,
            created_new_stream: stored.version == count && !stored.already_appended,
            last_global_position: stored.global_positions.last().copied().unwrap_or_default(),
            global_positions: stored.global_positions,
            already_appended: stored.already_appended,
        }
    }
}

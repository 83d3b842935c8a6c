//! Input of an append, and the database's answer.

use super::name::check_stream_name;
use crate::database::position::{from_sql, time_from_sql};
use crate::database::{ExpectedVersion, Jsonb};
use crate::error::{Error, Result};
use crate::events::message::{OutgoingMessage, RecordedMessage};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::SystemTime;

/// Result of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// Version of the stream after the append; the next append can expect it.
    pub next_expected_version: u64,
    /// Whether the append created the stream.
    pub created_new_stream: bool,
    /// Position of the append's last message among all messages of the store; 0 for a condition without messages.
    pub last_global_position: u64,
    /// Positions of all messages of the append.
    pub global_positions: Vec<u64>,
    /// Whether the messages were already stored under the same message ids. If so, nothing was stored now.
    pub already_appended: bool,
    /// Names of the inline projections that ran. The store's other projections get the messages later: they are being built,
    /// follow the feed, or another version is active. See [`ProjectionStatus`](crate::projection::ProjectionStatus).
    pub projections: Vec<String>,
}

/// Validated messages for one stream.
#[doc(hidden)]
#[derive(Debug)]
pub struct StreamAppend {
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

    /// Nothing to append, but a version that the stream must have.
    pub(crate) fn condition(stream: &str, expected: ExpectedVersion) -> Result<Self> {
        check_stream_name(stream)?;
        if expected == ExpectedVersion::Any {
            return Err(Error::invalid(
                format!("the condition on stream \"{stream}\""),
                "requires no version: name the one that was read",
            ));
        }
        Ok(Self {
            stream: stream.into(),
            expected,
            messages: Vec::new(),
        })
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

    /// Whether a repeat finds the stored messages. A condition stores nothing.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.messages.is_empty() || self.has_own_ids()
    }

    /// Returns the messages as they are now stored.
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
                    damage: None,
                },
            )
            .collect()
    }
}

/// Inline projections of an append. The server's answer says which of them the caller has to run.
#[derive(Debug, Clone, Default)]
pub(crate) struct InlineVersions {
    pub(crate) names: Vec<String>,
    pub(crate) versions: Vec<i32>,
    /// The names in the order of the server's numbers.
    sorted: Vec<String>,
    /// Versions by name, as appends send them.
    json: Vec<u8>,
}

impl InlineVersions {
    pub(crate) fn new(names: Vec<String>, versions: Vec<i32>) -> Self {
        let by_name: Map<String, Value> = names
            .iter()
            .cloned()
            .zip(versions.iter().map(|version| Value::from(*version)))
            .collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        Self {
            names,
            versions,
            sorted,
            json: Value::Object(by_name).to_string().into_bytes(),
        }
    }

    /// Returns the projections with these server-assigned numbers.
    pub(crate) fn numbered_all(&self, numbers: &[i64]) -> Vec<String> {
        let names = numbers.iter().filter_map(|number| self.numbered(*number));
        names.cloned().collect()
    }

    /// Returns the projection with this server-assigned number, counted from 1.
    fn numbered(&self, number: i64) -> Option<&String> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.sorted.get(index)
    }

    pub(crate) fn as_jsonb(&self) -> Jsonb<'_> {
        Jsonb(&self.json)
    }
}

/// The database's answer to an append.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) version: u64,
    pub(crate) recorded_at: SystemTime,
    pub(crate) global_positions: Vec<u64>,
    pub(crate) already_appended: bool,
    /// Projections that the caller has to run.
    pub(crate) projections: Vec<String>,
    /// Whether the server left some of the caller's projections to a follower.
    pub(crate) is_followed: bool,
}

impl Stored {
    /// Returns how many messages this append stored.
    pub(crate) fn newly_appended(&self) -> usize {
        if self.already_appended {
            return 0;
        }
        self.global_positions.len()
    }

    /// Whether the caller has to run this projection.
    pub(crate) fn runs(&self, projection: &str) -> bool {
        self.projections.iter().any(|name| name == projection)
    }

    fn new(version: i64, time: i64, positions: &[i64], projections: Vec<String>) -> Result<Self> {
        let positions = positions.iter().copied().map(from_sql);
        Ok(Self {
            version: from_sql(version)?,
            recorded_at: time_from_sql(time),
            global_positions: positions.collect::<Result<_, _>>()?,
            already_appended: false,
            projections,
            is_followed: false,
        })
    }

    /// Decodes the codes that `emt_append` returns.
    pub(super) fn from_sql(
        append: &StreamAppend,
        result: &[i64],
        projections: Option<&InlineVersions>,
    ) -> Result<Self> {
        let stream = || append.stream.to_string();
        match result {
            [0, version, time, positions @ ..] => {
                let all = projections.map_or_else(Vec::new, |inline| inline.names.clone());
                Self::new(*version, *time, positions, all)
            }
            [3, version, time, positions @ ..] => Ok(Self {
                already_appended: true,
                ..Self::new(*version, *time, positions, Vec::new())?
            }),
            [4, version, time, count, rest @ ..] => {
                let Some((numbers, positions)) = usize::try_from(*count)
                    .ok()
                    .and_then(|count| rest.split_at_checked(count))
                else {
                    return Err(not_understood(result));
                };
                let run = numbers
                    .iter()
                    .map(|number| {
                        projections
                            .and_then(|inline| inline.numbered(*number))
                            .cloned()
                    })
                    .collect::<Option<Vec<String>>>()
                    .ok_or_else(|| not_understood(result))?;
                Ok(Self {
                    is_followed: true,
                    ..Self::new(*version, *time, positions, run)?
                })
            }
            [5, version] => Self::new(*version, 0, &[], Vec::new()),
            [2, version] => Err(Error::StreamArchived {
                stream: stream(),
                version: from_sql(*version)?,
            }),
            [1, version] => Err(Error::Conflict {
                stream: stream(),
                expected: append.expected,
                actual: from_sql(*version)?,
            }),
            other => Err(not_understood(other)),
        }
    }
}

fn not_understood(result: &[i64]) -> Error {
    Error::schema(format!(
        "the function emt_append returned {result:?}, which this library does not know: update the library or migrate the schema"
    ))
}

impl From<Stored> for Appended {
    fn from(stored: Stored) -> Self {
        let count = stored.global_positions.len() as u64;
        Self {
            next_expected_version: stored.version,
            created_new_stream: count > 0 && stored.version == count && !stored.already_appended,
            last_global_position: stored.global_positions.last().copied().unwrap_or_default(),
            global_positions: stored.global_positions,
            already_appended: stored.already_appended,
            projections: stored.projections,
        }
    }
}

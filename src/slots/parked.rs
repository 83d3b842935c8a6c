//! Parked messages, as an operator sees them.

use crate::database::position::{get_u32, get_u64, to_sql};
use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::{Partition, PartitionSql};
use postgres::Row;
use postgres::types::Type;
use std::fmt;
use std::time::SystemTime;

/// Ties are kept, so that a page never ends between two rows of one message.
const LIST: PartitionSql = PartitionSql::new("
    SELECT version, slot, global_position, stream_id, stream_position, message_type, attempts, error, request, parked_at
      FROM {schema}.emt_parked_messages
     WHERE partition = $1 AND processor = $2 AND ($3 IS NULL OR version = $3) AND ($4 IS NULL OR stream_id = $4)
       AND global_position > $5 AND global_position <= $6
     ORDER BY global_position
     FETCH FIRST $7 ROWS WITH TIES");

/// Prefers the row of the version that failed on the message.
const ONE: PartitionSql = PartitionSql::new("
    SELECT version, slot, global_position, stream_id, stream_position, message_type, attempts, error, request, parked_at
      FROM {schema}.emt_parked_messages
     WHERE partition = $1 AND processor = $2 AND ($3 IS NULL OR version = $3) AND global_position = $4
     ORDER BY error IS NULL, version DESC, slot
     LIMIT 1");

/// A message that a processor could not handle and has parked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedMessage {
    /// Version of the processor.
    pub version: u32,
    /// Slot of the message.
    pub slot: u32,
    /// Global position of the message.
    pub global_position: u64,
    /// Stream of the message. For a workflow, stream of the instance that gets the message.
    pub stream_name: String,
    /// Version of the message in the stream.
    pub stream_position: u64,
    /// Type of the message.
    pub message_type: String,
    /// Number of attempts to handle it.
    pub attempts: u32,
    /// Error of the handler; `None` if the message only follows an earlier parked message of its stream.
    pub error: Option<String>,
    /// Pending request of an operator.
    pub request: Option<ParkedRequest>,
    /// Time at which it was parked, by the clock of the database server.
    pub parked_at: SystemTime,
}

/// An operator's request for a parked message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParkedRequest {
    /// Handle the message again.
    Replay,
    /// Discard the message: it is never handled, and later messages of its stream continue.
    Discard,
}

impl ParkedRequest {
    pub(super) fn as_sql(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }

    fn from_sql(request: &str) -> Result<Self> {
        match request {
            "replay" => Ok(Self::Replay),
            "discard" => Ok(Self::Discard),
            other => Err(Error::stored(
                "the request for a parked message",
                format!("\"{other}\""),
                "\"replay\" or \"discard\"",
            )),
        }
    }
}

impl fmt::Display for ParkedRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_sql())
    }
}

/// Selection of parked messages to list.
///
/// ```
/// use emmett_postgresql::operations::ParkedOptions;
/// let next_page = ParkedOptions::new().stream("Cart-1").after(1_200).limit(50);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedOptions {
    pub(crate) stream: Option<String>,
    after: u64,
    limit: usize,
}

impl Default for ParkedOptions {
    fn default() -> Self {
        Self {
            stream: None,
            after: 0,
            limit: 100,
        }
    }
}

impl ParkedOptions {
    /// Options for the first 100 messages of all streams.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists only messages of one stream. Defaults to all.
    #[must_use]
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = Some(name.into());
        self
    }

    /// Starts after this global position (exclusive), such as the last one of the previous page. Defaults to 0, the
    /// beginning.
    #[must_use]
    pub fn after(mut self, position: u64) -> Self {
        self.after = position;
        self
    }

    /// Maximum number of messages; at least 1. A message that several slots or versions have parked counts once. Defaults to
    /// 100.
    #[must_use]
    pub fn limit(mut self, messages: usize) -> Self {
        self.limit = messages;
        self
    }
}

/// Returns the parked messages of a processor, by global position.
pub(crate) fn list(
    sql: &mut dyn Sql,
    partition: &Partition,
    processor: &str,
    version: Option<i32>,
    options: &ParkedOptions,
) -> Result<Vec<ParkedMessage>> {
    if options.limit == 0 {
        let reason = "must be at least 1";
        return Err(Error::invalid(
            "the limit of a list of parked messages",
            reason,
        ));
    }
    let (after, up_to) = (to_sql(options.after), i64::MAX);
    let limit = to_sql(options.limit);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&processor, Type::TEXT),
        param(&version, Type::INT4),
        param(&options.stream, Type::TEXT),
        param(&after, Type::INT8),
        param(&up_to, Type::INT8),
        param(&limit, Type::INT8),
    ];
    sql.query(&partition.sql(LIST), &parameters)
        .map_err(|source| Error::database("list parked messages", source))?
        .iter()
        .map(parked)
        .collect()
}

/// Returns the message parked at a position. Of several versions or slots, returns the one that failed on it.
pub(crate) fn at(
    sql: &mut dyn Sql,
    partition: &Partition,
    processor: &str,
    version: Option<i32>,
    position: u64,
) -> Result<Option<ParkedMessage>> {
    let at = to_sql(position);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&processor, Type::TEXT),
        param(&version, Type::INT4),
        param(&at, Type::INT8),
    ];
    let rows = sql
        .query(&partition.sql(ONE), &parameters)
        .map_err(|source| Error::database("find a parked message", source))?;
    rows.first().map(parked).transpose()
}

fn parked(row: &Row) -> Result<ParkedMessage> {
    let request: Option<&str> = get(row, "request")?;
    Ok(ParkedMessage {
        version: get_u32(row, "version")?,
        slot: get_u32(row, "slot")?,
        global_position: get_u64(row, "global_position")?,
        stream_name: get(row, "stream_id")?,
        stream_position: get_u64(row, "stream_position")?,
        message_type: get(row, "message_type")?,
        attempts: get_u32(row, "attempts")?,
        error: get(row, "error")?,
        request: request.map(ParkedRequest::from_sql).transpose()?,
        parked_at: get(row, "parked_at")?,
    })
}

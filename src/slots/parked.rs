//! Parked messages as an operator sees them.

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

/// The message's own row of the version that failed on it.
const ONE: PartitionSql = PartitionSql::new("
    SELECT version, slot, global_position, stream_id, stream_position, message_type, attempts, error, request, parked_at
      FROM {schema}.emt_parked_messages
     WHERE partition = $1 AND processor = $2 AND ($3 IS NULL OR version = $3) AND global_position = $4
     ORDER BY error IS NULL, version DESC, slot
     LIMIT 1");

/// A message that a processor has put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedMessage {
    /// The version of the processor.
    pub version: u32,
    /// The slot that it belongs to.
    pub slot: u32,
    /// Its global position.
    pub global_position: u64,
    /// Its stream.
    pub stream_name: String,
    /// Its version in the stream.
    pub stream_position: u64,
    /// Its type.
    pub message_type: String,
    /// How often the processor has tried to handle it.
    pub attempts: u32,
    /// Why it could not be handled; `None` when it comes after an earlier parked message of its stream.
    pub error: Option<String>,
    /// What the processor has been asked to do with it, and has not done yet.
    pub request: Option<ParkedRequest>,
    /// Since when it is parked, by the clock of the database server.
    pub parked_at: SystemTime,
}

/// What a processor shall do with a parked message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParkedRequest {
    /// Handle it again.
    Replay,
    /// Drop it: it is never handled, and the later ones of its stream go on.
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

/// Which part of the parked messages to list.
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
    /// The first 100.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those of one stream. Defaults to all.
    #[must_use]
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = Some(name.into());
        self
    }

    /// Begins after this global position: that of the last one of the page before. Defaults to 0, the beginning.
    #[must_use]
    pub fn after(mut self, position: u64) -> Self {
        self.after = position;
        self
    }

    /// How many at the most. A message that several slots or versions have parked counts once. Must
    /// be at least 1. Defaults to 100.
    #[must_use]
    pub fn limit(mut self, messages: usize) -> Self {
        self.limit = messages;
        self
    }
}

/// The parked messages of a processor, by global position.
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

/// The message that is parked at a position; of several versions or slots, the one that failed on it.
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
        .map_err(|source| Error::database("look for a parked message", source))?;
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

//! Parked messages: what is there, and what their processor shall do with them.

use super::{Processors, small_from_sql};
use crate::database::position::{from_sql, to_sql};
use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::event::RawEvent;
use crate::events::feed;
use crate::events::message::{Recorded, RecordedMessage};
use postgres::Row;
use postgres::types::Type;
use std::fmt;
use std::time::SystemTime;

/// Ties are kept, so that a page never ends between two rows of one message.
const LIST: &str = "
    SELECT version, slot, global_position, stream_id, stream_position, message_type, attempts, error, request, parked_at
      FROM {schema}.emt_parked_messages
     WHERE partition = $1 AND processor = $2 AND ($3 IS NULL OR version = $3) AND ($4 IS NULL OR stream_id = $4)
       AND global_position > $5 AND global_position <= $6
     ORDER BY global_position
     FETCH FIRST $7 ROWS WITH TIES";

/// The message's own row of the version that failed on it.
const ONE: &str = "
    SELECT version, slot, global_position, stream_id, stream_position, message_type, attempts, error, request, parked_at
      FROM {schema}.emt_parked_messages
     WHERE partition = $1 AND processor = $2 AND ($3 IS NULL OR version = $3) AND global_position = $4
     ORDER BY error IS NULL, version DESC, slot
     LIMIT 1";

/// Locks everything of the message's stream, which decides what may be done with it.
const LOCK: &str = "
    SELECT FROM {schema}.emt_parked_messages
     WHERE partition = $1 AND processor = $2 AND version = $3
       AND stream_id IN (
               SELECT stream_id FROM {schema}.emt_parked_messages
                WHERE partition = $1 AND processor = $2 AND version = $3 AND global_position = $4)
     ORDER BY slot, global_position
       FOR UPDATE";

/// The first message that stands before this one in its stream and is to stay.
const BLOCKING: &str = "
    SELECT earlier.global_position
      FROM {schema}.emt_parked_messages AS parked
      JOIN {schema}.emt_parked_messages AS earlier
        ON earlier.partition = parked.partition AND earlier.processor = parked.processor
       AND earlier.version = parked.version AND earlier.slot = parked.slot AND earlier.stream_id = parked.stream_id
       AND earlier.global_position < parked.global_position AND earlier.request IS NULL
     WHERE parked.partition = $1 AND parked.processor = $2 AND parked.version = $3 AND parked.global_position = $4
     ORDER BY earlier.global_position
     LIMIT 1";

/// Whether every slot that has work now is held.
const REQUEST: &str = "
    WITH requested AS (
        UPDATE {schema}.emt_parked_messages
           SET request = $6
         WHERE partition = $1 AND processor = $2 AND version = $3
           AND ($4 IS NULL OR stream_id = $4) AND ($5 IS NULL OR global_position = $5)
        RETURNING slot
    )
    SELECT count(*),
           coalesce(bool_and(EXISTS (
               SELECT FROM {schema}.emt_processor_slots AS held
                WHERE held.partition = $1 AND held.processor = $2 AND held.version = $3 AND held.slot = requested.slot
                  AND held.owner IS NOT NULL AND held.expires_at > clock_timestamp())), FALSE)
      FROM requested";

/// What waited behind the message and nothing else goes on with it: up to the next one that has failed itself.
const FOLLOW: &str = "
    UPDATE {schema}.emt_parked_messages AS waiting
       SET request = 'replay'
      FROM {schema}.emt_parked_messages AS requested
     WHERE requested.partition = $1 AND requested.processor = $2 AND requested.version = $3
       AND requested.global_position = $4
       AND waiting.partition = $1 AND waiting.processor = $2 AND waiting.version = $3
       AND waiting.slot = requested.slot AND waiting.stream_id = requested.stream_id
       AND waiting.global_position > requested.global_position
       AND waiting.error IS NULL AND waiting.request IS NULL
       AND NOT EXISTS (SELECT FROM {schema}.emt_parked_messages AS failed
                        WHERE failed.partition = $1 AND failed.processor = $2 AND failed.version = $3
                          AND failed.slot = waiting.slot AND failed.stream_id = waiting.stream_id
                          AND failed.global_position < waiting.global_position
                          AND failed.error IS NOT NULL AND failed.request IS NULL)";

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
    /// Why it could not be handled; `None` when it waits behind an earlier message of its stream.
    pub error: Option<String>,
    /// What the processor has been asked to do with it, and has not done yet.
    pub request: Option<ParkedRequest>,
    /// Since when it is parked, by the clock of the database server.
    pub parked_at: SystemTime,
}

/// A parked message with what was stored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ParkedDetail {
    /// Why it is parked.
    pub parked: ParkedMessage,
    /// The stored message; `None` when it is no longer there.
    pub message: Option<Recorded<RawEvent>>,
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
    fn as_sql(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }

    fn from_sql(request: &str) -> Option<Self> {
        match request {
            "replay" => Some(Self::Replay),
            "discard" => Some(Self::Discard),
            _ => None,
        }
    }
}

impl fmt::Display for ParkedRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_sql())
    }
}

/// Which parked messages are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParkedSelection {
    /// All of the processor's.
    All,
    /// Those of one stream.
    Stream(String),
    /// The one at a global position.
    Position(u64),
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestOutcome {
    /// How many messages were selected; 0 when none of them is parked.
    pub marked: u64,
    /// How many messages that waited behind the selected one go on with it.
    pub following: u64,
    /// Whether the processor runs. If not, the request is carried out when it is started.
    pub owner_running: bool,
}

/// Which part of the parked messages to list.
///
/// ```
/// use emmett_postgresql::ParkedOptions;
/// let next_page = ParkedOptions::new().stream("Cart-1").after(1_200).limit(50);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedOptions {
    stream: Option<String>,
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

    /// Begins behind this global position: that of the last one of the page before. Defaults to 0, the beginning.
    #[must_use]
    pub fn after(mut self, position: u64) -> Self {
        self.after = position;
        self
    }

    /// How many at the most. A message that several slots or versions have parked counts once. Defaults to 100.
    #[must_use]
    pub fn limit(mut self, messages: usize) -> Self {
        self.limit = messages.max(1);
        self
    }
}

impl Processors {
    /// The messages that a processor has parked, by their global positions.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// use emmett_postgresql::ParkedOptions;
    /// for parked in store.processors().parked("cart-summaries", ParkedOptions::new())? {
    ///     let why = parked.error.as_deref().unwrap_or("waits behind an earlier one");
    ///     println!("{} {}: {why}", parked.global_position, parked.stream_name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`](crate::ProcessorError::Unknown).
    pub fn parked(&self, name: &str, options: ParkedOptions) -> Result<Vec<ParkedMessage>> {
        let version = self.version_parameter();
        let (after, up_to) = (to_sql(options.after), i64::MAX);
        let limit = i64::try_from(options.limit).unwrap_or(i64::MAX);
        check_stream(options.stream.as_deref())?;
        let parameters = [
            param(&self.partition.name, Type::TEXT),
            param(&name, Type::TEXT),
            param(&version, Type::INT4),
            param(&options.stream, Type::TEXT),
            param(&after, Type::INT8),
            param(&up_to, Type::INT8),
            param(&limit, Type::INT8),
        ];
        self.connections.run(true, |sql| {
            self.check_known(sql, name)?;
            let rows = sql
                .query(&self.partition.sql(LIST), &parameters)
                .map_err(|source| Error::database("list parked messages", source))?;
            rows.iter().map(parked).collect()
        })
    }

    /// The message that a processor has parked at a global position, with what was stored; `None` when it has not. Where
    /// several slots or versions have parked it: the one that failed on it.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// if let Some(detail) = store.processors().parked_message("cart-summaries", 1_234)? {
    ///     println!("{:?}: {:?}", detail.parked.error, detail.message.map(|message| message.event.data));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`](crate::ProcessorError::Unknown).
    pub fn parked_message(&self, name: &str, position: u64) -> Result<Option<ParkedDetail>> {
        let version = self.version_parameter();
        let at = to_sql(position);
        let parameters = [
            param(&self.partition.name, Type::TEXT),
            param(&name, Type::TEXT),
            param(&version, Type::INT4),
            param(&at, Type::INT8),
        ];
        self.connections.run(true, |sql| {
            self.check_known(sql, name)?;
            let rows = sql
                .query(&self.partition.sql(ONE), &parameters)
                .map_err(|source| Error::database("look for a parked message", source))?;
            let Some(row) = rows.first() else {
                return Ok(None);
            };
            let before = position.saturating_sub(1);
            let stored = feed::page(sql, &self.partition, before, position, 1, None)?;
            let message = stored.first().map(RecordedMessage::decode).transpose()?;
            Ok(Some(ParkedDetail {
                parked: parked(row)?,
                message,
            }))
        })
    }

    /// Asks a processor to handle parked messages again, in the order of each stream. What waits behind the one at a
    /// position goes on with it.
    ///
    /// The running processor carries it out; see [`RequestOutcome::owner_running`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// use emmett_postgresql::ParkedSelection;
    /// let outcome = store.processors().replay("cart-summaries", &ParkedSelection::All)?;
    /// println!("{} messages are handled again", outcome.marked);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`](crate::ProcessorError::Unknown). [`Error::InvalidInput`] for a position that waits behind
    /// an earlier message of its stream, and where the name has several versions and none was chosen.
    pub fn replay(&self, name: &str, selection: &ParkedSelection) -> Result<RequestOutcome> {
        self.request(name, selection, ParkedRequest::Replay)
    }

    /// Asks a processor to drop parked messages without handling them. Its read model is then without them; the later ones
    /// of their streams go on.
    ///
    /// The running processor carries it out; see [`RequestOutcome::owner_running`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// use emmett_postgresql::ParkedSelection;
    /// store.processors().discard("cart-summaries", &ParkedSelection::Position(1_234))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`](crate::ProcessorError::Unknown). [`Error::InvalidInput`] where the name has several
    /// versions and none was chosen.
    pub fn discard(&self, name: &str, selection: &ParkedSelection) -> Result<RequestOutcome> {
        self.request(name, selection, ParkedRequest::Discard)
    }

    fn request(
        &self,
        name: &str,
        selection: &ParkedSelection,
        request: ParkedRequest,
    ) -> Result<RequestOutcome> {
        let (stream, position) = match selection {
            ParkedSelection::All => (None, None),
            ParkedSelection::Stream(stream) => (Some(stream.as_str()), None),
            ParkedSelection::Position(position) => (None, Some(to_sql(*position))),
        };
        check_stream(stream)?;
        self.change(name, |sql, version| {
            let partition = &self.partition;
            let word = request.as_sql();
            let parameters = [
                param(&partition.name, Type::TEXT),
                param(&name, Type::TEXT),
                param(&version, Type::INT4),
                param(&stream, Type::TEXT),
                param(&position, Type::INT8),
                param(&word, Type::TEXT),
            ];
            if let Some(position) = position {
                self.lock_stream(sql, name, version, position)?;
                if request == ParkedRequest::Replay {
                    self.refuse_blocked(sql, name, version, position)?;
                }
            }
            let rows = sql
                .query(&partition.sql(REQUEST), &parameters)
                .map_err(refused)?;
            let (marked, owner_running) = match rows.first() {
                Some(row) => (get(row, 0)?, get(row, 1)?),
                None => (0, false),
            };
            let following = match position {
                Some(position) => self.let_follow(sql, name, version, position)?,
                None => 0,
            };
            Ok(RequestOutcome {
                marked: from_sql(marked),
                following,
                owner_running,
            })
        })
    }

    fn lock_stream(
        &self,
        sql: &mut dyn Sql,
        name: &str,
        version: i32,
        position: i64,
    ) -> Result<()> {
        let parameters = [
            param(&self.partition.name, Type::TEXT),
            param(&name, Type::TEXT),
            param(&version, Type::INT4),
            param(&position, Type::INT8),
        ];
        sql.query(&self.partition.sql(LOCK), &parameters)
            .map_err(refused)?;
        Ok(())
    }

    /// A message that was handled before an earlier one of its stream would break the order.
    fn refuse_blocked(
        &self,
        sql: &mut dyn Sql,
        name: &str,
        version: i32,
        position: i64,
    ) -> Result<()> {
        let parameters = [
            param(&self.partition.name, Type::TEXT),
            param(&name, Type::TEXT),
            param(&version, Type::INT4),
            param(&position, Type::INT8),
        ];
        let rows = sql
            .query(&self.partition.sql(BLOCKING), &parameters)
            .map_err(refused)?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let first: i64 = get(row, 0)?;
        Err(Error::invalid(
            format!("the parked message at position {position}"),
            format!(
                "waits behind that at position {first} of its stream; replay that one, or the whole stream"
            ),
        ))
    }

    fn let_follow(
        &self,
        sql: &mut dyn Sql,
        name: &str,
        version: i32,
        position: i64,
    ) -> Result<u64> {
        let parameters = [
            param(&self.partition.name, Type::TEXT),
            param(&name, Type::TEXT),
            param(&version, Type::INT4),
            param(&position, Type::INT8),
        ];
        sql.execute(&self.partition.sql(FOLLOW), &parameters)
            .map_err(refused)
    }
}

fn refused(source: postgres::Error) -> Error {
    Error::database("ask for parked messages", source)
}

fn check_stream(stream: Option<&str>) -> Result<()> {
    stream.map_or(Ok(()), crate::events::stream::check_stream_name)
}

fn parked(row: &Row) -> Result<ParkedMessage> {
    let request: Option<&str> = get(row, 8)?;
    Ok(ParkedMessage {
        version: small_from_sql(get(row, 0)?),
        slot: small_from_sql(get(row, 1)?),
        global_position: from_sql(get(row, 2)?),
        stream_name: get(row, 3)?,
        stream_position: from_sql(get(row, 4)?),
        message_type: get(row, 5)?,
        attempts: small_from_sql(get(row, 6)?),
        error: get(row, 7)?,
        request: request.and_then(ParkedRequest::from_sql),
        parked_at: get(row, 9)?,
    })
}

//! Requests to replay or discard parked messages. The worker that holds their slot carries them out.

use super::key::ProcessorKey;
use super::parked::ParkedRequest;
use crate::database::position::{get_u64, to_sql};
use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::PartitionSql;
use postgres::types::Type;

/// Locks all parked messages of the message's stream, because they decide which request is allowed.
const LOCK: PartitionSql = PartitionSql::new(
    "
    SELECT FROM {schema}.emt_parked_messages
     WHERE partition = $1 AND processor = $2 AND version = $3
       AND stream_id IN (
               SELECT stream_id FROM {schema}.emt_parked_messages
                WHERE partition = $1 AND processor = $2 AND version = $3 AND global_position = $4)
     ORDER BY slot, global_position
       FOR UPDATE",
);

/// The first earlier message of its stream that stays parked.
const BLOCKING: PartitionSql = PartitionSql::new("
    SELECT earlier.global_position AS blocking
      FROM {schema}.emt_parked_messages AS parked
      JOIN {schema}.emt_parked_messages AS earlier
        ON earlier.partition = parked.partition AND earlier.processor = parked.processor
       AND earlier.version = parked.version AND earlier.slot = parked.slot AND earlier.stream_id = parked.stream_id
       AND earlier.global_position < parked.global_position AND earlier.request IS NULL
     WHERE parked.partition = $1 AND parked.processor = $2 AND parked.version = $3 AND parked.global_position = $4
     ORDER BY earlier.global_position
     LIMIT 1");

/// `is_running`: whether every slot that has work is held.
const REQUEST: PartitionSql = PartitionSql::new("
    WITH requested AS (
        UPDATE {schema}.emt_parked_messages
           SET request = $6
         WHERE partition = $1 AND processor = $2 AND version = $3
           AND ($4 IS NULL OR stream_id = $4) AND ($5 IS NULL OR global_position = $5)
        RETURNING slot
    )
    SELECT count(*) AS marked,
           coalesce(pg_catalog.bool_and(EXISTS (
               SELECT FROM {schema}.emt_processor_slots AS held
                WHERE held.partition = $1 AND held.processor = $2 AND held.version = $3 AND held.slot = requested.slot
                  AND held.owner IS NOT NULL AND held.expires_at > clock_timestamp())), FALSE) AS is_running
      FROM requested");

/// Marks the messages that only follow this one for the same request, up to the next message that failed itself.
const FOLLOW: PartitionSql = PartitionSql::new("
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
                          AND failed.error IS NOT NULL AND failed.request IS NULL)");

/// Selection of parked messages for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParkedSelection {
    /// All parked messages of the processor.
    All,
    /// The parked messages of one stream.
    Stream(String),
    /// The message at a global position.
    Position(u64),
}

/// Result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestOutcome {
    /// Number of messages that were selected; 0 if none of them is parked.
    pub marked: u64,
    /// Number of later messages that are released with the selected one.
    pub following: u64,
    /// Whether the processor runs. If not, it carries out the request when it is started.
    pub owner_running: bool,
}

impl ProcessorKey<'_> {
    /// Marks parked messages for a request.
    pub(crate) fn request(
        &self,
        sql: &mut dyn Sql,
        selection: &ParkedSelection,
        request: ParkedRequest,
    ) -> Result<RequestOutcome> {
        let (stream, position) = match selection {
            ParkedSelection::All => (None, None),
            ParkedSelection::Stream(stream) => (Some(stream.as_str()), None),
            ParkedSelection::Position(position) => (None, Some(to_sql(*position))),
        };
        if let Some(position) = position {
            self.lock_stream(sql, position)?;
            if request == ParkedRequest::Replay {
                self.refuse_blocked(sql, position)?;
            }
        }
        let (marked, owner_running) = self.mark(sql, stream, position, request)?;
        Ok(RequestOutcome {
            marked,
            following: position.map_or(Ok(0), |position| self.let_follow(sql, position))?,
            owner_running,
        })
    }

    fn mark(
        &self,
        sql: &mut dyn Sql,
        stream: Option<&str>,
        position: Option<i64>,
        request: ParkedRequest,
    ) -> Result<(u64, bool)> {
        let word = request.as_sql();
        let parameters = self.parameters([
            param(&stream, Type::TEXT),
            param(&position, Type::INT8),
            param(&word, Type::TEXT),
        ]);
        let rows = sql
            .query(&self.partition.sql(REQUEST), &parameters)
            .map_err(refused)?;
        let Some(row) = rows.first() else {
            return Ok((0, false));
        };
        Ok((get_u64(row, "marked")?, get(row, "is_running")?))
    }

    fn lock_stream(&self, sql: &mut dyn Sql, position: i64) -> Result<()> {
        let parameters = self.parameters([param(&position, Type::INT8)]);
        sql.query(&self.partition.sql(LOCK), &parameters)
            .map_err(refused)?;
        Ok(())
    }

    /// Refuses a message whose earlier message of the stream stays parked: handling it would break the order.
    fn refuse_blocked(&self, sql: &mut dyn Sql, position: i64) -> Result<()> {
        let parameters = self.parameters([param(&position, Type::INT8)]);
        let rows = sql
            .query(&self.partition.sql(BLOCKING), &parameters)
            .map_err(refused)?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let first: i64 = get(row, "blocking")?;
        Err(Error::invalid(
            format!("the parked message at position {position}"),
            format!(
                "follows the parked message at position {first} of its stream; replay that message, or the whole stream"
            ),
        ))
    }

    fn let_follow(&self, sql: &mut dyn Sql, position: i64) -> Result<u64> {
        let parameters = self.parameters([param(&position, Type::INT8)]);
        sql.execute(&self.partition.sql(FOLLOW), &parameters)
            .map_err(refused)
    }
}

fn refused(source: postgres::Error) -> Error {
    Error::database("request a change of parked messages", source)
}

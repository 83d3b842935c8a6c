//! Status of processors and their slots.

use super::survived::SurvivedError;
use crate::database::position::{elapsed_from_sql, get_u32, get_u64, to_sql};
use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::{Partition, PartitionSql, epoch, feed};
use crate::slots::progress::Reach;
use postgres::Row;
use postgres::types::Type;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, SystemTime};

/// Maximum lag that is counted.
const MOST_LAG: u64 = 1_000_000;

/// A handler that runs longer counts as hanging. A processor without progress for longer, with messages waiting, counts as
/// stalled.
const PATIENCE: Duration = Duration::from_secs(60);

/// Number of errors in a row, without progress, that count as repeating.
const REPETITION: u32 = 2;

/// One row a processor, so that its lag is counted once. A processor without slots has a start position from a rebuild.
const PROCESSORS: PartitionSql = PartitionSql::new("
    WITH processor AS (
        SELECT processor AS name, version, pg_catalog.min(position) AS position, pg_catalog.min(store_epoch) AS epoch
          FROM {schema}.emt_processor_slots
         WHERE partition = $1
         GROUP BY processor, version
         UNION ALL
        SELECT processor, version, position, {schema}.emt_store_epoch_of(position, updated_at)
          FROM {schema}.emt_processor_beginnings AS began
         WHERE partition = $1
           AND NOT EXISTS (SELECT FROM {schema}.emt_processor_slots AS slot
                            WHERE slot.partition = $1 AND slot.processor = began.processor
                              AND slot.version = began.version)
    ), parked AS (
        SELECT processor AS name, version, count(*) FILTER (WHERE error IS NOT NULL) AS failed,
               count(*) FILTER (WHERE error IS NULL) AS waiting
          FROM {schema}.emt_parked_messages
         WHERE partition = $1
         GROUP BY processor, version
    )
    SELECT processor.name, processor.version, processor.position, processor.epoch, lag.messages AS lag,
           (extract(EPOCH FROM clock_timestamp() - lag.oldest) OPERATOR(pg_catalog.*) 1000000)::BIGINT AS lag_microseconds,
           coalesce(parked.failed, 0) AS parked, coalesce(parked.waiting, 0) AS waiting
      FROM processor
     CROSS JOIN LATERAL {schema}.emt_feed_lag($1, processor.position, $2) AS lag
      LEFT JOIN parked ON parked.name = processor.name AND parked.version = processor.version
     WHERE $3 IS NULL OR processor.version = $3
     ORDER BY processor.name COLLATE \"C\", processor.version");

const SLOTS: PartitionSql = PartitionSql::new("
    SELECT processor, version, slot, position, epoch, owner, worker,
           (extract(EPOCH FROM clock_timestamp() - taken_at) OPERATOR(pg_catalog.*) 1000000)::BIGINT AS held_microseconds,
           (extract(EPOCH FROM expires_at - clock_timestamp()) OPERATOR(pg_catalog.*) 1000000)::BIGINT AS left_microseconds,
           (extract(EPOCH FROM clock_timestamp() - busy_since) OPERATOR(pg_catalog.*) 1000000)::BIGINT AS busy_microseconds,
           (extract(EPOCH FROM clock_timestamp() - greatest(updated_at, taken_at)) OPERATOR(pg_catalog.*) 1000000)::BIGINT AS quiet_microseconds,
           crashes, attempts, status, last_error, retry_at, updated_at, projection, survived_error, survived_at,
           survived_count
      FROM {schema}.emt_processor_slots
     WHERE partition = $1
     ORDER BY slot");

/// Status of a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessorStatus {
    /// Name of the processor.
    pub name: String,
    /// Version of its code.
    pub version: u32,
    /// Projection that it maintains; `None` for a reactor, and for a processor that has not run here yet.
    pub projection: Option<String>,
    /// State of the processor.
    pub state: ProcessorState,
    /// Global position up to which it has handled every message: the lowest position of its slots.
    pub position: u64,
    /// Last global position that any append has drawn, of any tenant.
    pub head: u64,
    /// [Epoch](crate::EventStore::epoch) of the store to which its position belongs: the lowest of its slots. If it is below
    /// `store_epoch`, the processor does not run until it is reset.
    pub epoch: u64,
    /// Epoch of the store.
    pub store_epoch: u64,
    /// Number of stored messages of any type after its position; at most 1,000,000. With several slots, some of them are
    /// already handled.
    pub lag: u64,
    /// Age of the first of these messages; `None` if there is none.
    pub lag_time: Option<Duration>,
    /// Slots of the processor. Empty if only a rebuild has set its start position.
    pub slots: Vec<SlotStatus>,
    /// Last error of any slot. Errors of failed slots come first.
    pub last_error: Option<String>,
    /// Last error that one of its workers survived.
    pub survived: Option<SurvivedError>,
    /// Number of messages that it could not handle and has parked.
    pub parked: u64,
    /// Number of messages that wait for an earlier parked message of their stream.
    pub waiting: u64,
}

/// State of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessorState {
    /// A worker holds at least one of its slots, and no other state applies.
    Running,
    /// A handler has been running for more than a minute.
    Hanging,
    /// A worker fails and retries: several errors in a row, and messages wait.
    Repeating,
    /// A worker holds it and messages have waited for more than a minute, but its position has not moved for as long. An
    /// open append may hold the feed back; [`EventStore::doctor`](crate::EventStore::doctor) finds it.
    StandingStill,
    /// No worker holds it.
    Stopped,
    /// A lease on one of its slots has expired and no other worker has taken the slot yet.
    LeaseExpired,
    /// Its position was never drawn by an append, or is of an earlier epoch of the store. It would skip events, so it does
    /// not run until it is reset. See [`ProcessorError::Ahead`](crate::error::ProcessorError::Ahead) and
    /// [`ProcessorError::OldEpoch`](crate::error::ProcessorError::OldEpoch).
    Ahead,
    /// A temporary database failure: a lock, a timeout, a lost connection. It retries automatically; see
    /// [`last_error`](ProcessorStatus::last_error) and [`retry_at`](SlotStatus::retry_at).
    Waiting,
    /// One of its slots has failed. It stays at its position until it is started again or reset.
    Failed,
}

impl ProcessorStatus {
    pub(crate) fn reach(&self) -> Reach {
        let positions = self.slots.iter().map(|slot| slot.position);
        Reach {
            furthest: positions.max().unwrap_or(self.position),
            head: self.head,
            epoch: self.epoch,
            store_epoch: self.store_epoch,
        }
    }
}

fn last_survived(slots: &[SlotStatus]) -> Option<SurvivedError> {
    let survived = slots.iter().filter_map(|slot| slot.survived.as_ref());
    survived.max_by_key(|survived| survived.at).cloned()
}

impl ProcessorState {
    fn of(slots: &[SlotStatus], is_ahead: bool, lag_time: Option<Duration>) -> Self {
        let expired = |slot: &SlotStatus| {
            let holder = slot.holder.as_ref();
            holder.is_some_and(|holder| holder.lease_left.is_none())
        };
        if is_ahead {
            Self::Ahead
        } else if slots.iter().any(|slot| slot.failed) {
            Self::Failed
        } else if slots.iter().any(expired) {
            Self::LeaseExpired
        } else if slots.iter().any(|slot| slot.retry_at.is_some()) {
            Self::Waiting
        } else if slots.iter().all(|slot| slot.holder.is_none()) {
            Self::Stopped
        } else if slots.iter().any(SlotStatus::hangs) {
            Self::Hanging
        } else {
            Self::of_running(slots, lag_time)
        }
    }

    /// Without waiting messages, no progress is expected.
    fn of_running(slots: &[SlotStatus], lag_time: Option<Duration>) -> Self {
        let Some(lag_time) = lag_time else {
            return Self::Running;
        };
        if slots.iter().any(SlotStatus::repeats) {
            return Self::Repeating;
        }
        let hindmost = slots.iter().min_by_key(|slot| slot.position);
        if lag_time >= PATIENCE && hindmost.is_some_and(SlotStatus::is_quiet) {
            return Self::StandingStill;
        }
        Self::Running
    }
}

impl fmt::Display for ProcessorState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Running => "running",
            Self::Hanging => "hanging",
            Self::Repeating => "repeating",
            Self::StandingStill => "standing still",
            Self::Stopped => "stopped",
            Self::LeaseExpired => "lease expired",
            Self::Ahead => "ahead",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        })
    }
}

/// Status of one slot of a processor. A slot has all of its streams, or a fixed share of them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotStatus {
    /// Number of the slot, starting at 0.
    pub slot: u32,
    /// Global position up to which it has handled its messages.
    pub position: u64,
    /// Incremented whenever the slot is taken or reset.
    pub epoch: u64,
    /// Current holder, or the last one that did not release the slot.
    pub holder: Option<SlotHolder>,
    /// How many holders in a row died without progress.
    pub crashes: u32,
    /// Number of attempts at the current message.
    pub attempts: u32,
    /// Whether it has failed. A failed slot is not taken.
    pub failed: bool,
    /// Error of a failed or waiting slot.
    pub last_error: Option<String>,
    /// Last error that its holder survived.
    pub survived: Option<SurvivedError>,
    /// How long its holder's handler has been running; `None` if it was idle at the last renewal of the lease.
    pub busy_for: Option<Duration>,
    /// Time of the next retry after a temporary database failure, by the clock of the database server. `None` unless it is
    /// [waiting](ProcessorState::Waiting).
    pub retry_at: Option<SystemTime>,
    /// Time of its last progress, by the clock of the database server.
    pub updated_at: SystemTime,
    quiet_for: Duration,
}

impl SlotStatus {
    /// Whether its handler has been running for too long.
    pub(crate) fn hangs(&self) -> bool {
        self.busy_for.is_some_and(|time| time >= PATIENCE)
    }

    /// Whether its holder has survived several errors since its last progress.
    pub(crate) fn repeats(&self) -> bool {
        let survived = self.survived.as_ref();
        survived.is_some_and(|last| last.times >= REPETITION && last.at > self.updated_at)
    }

    /// Whether it was taken long ago and has made no progress for as long.
    fn is_quiet(&self) -> bool {
        self.quiet_for >= PATIENCE
    }
}

/// Holder of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotHolder {
    /// The process.
    pub owner: String,
    /// Number of the worker thread.
    pub worker: u32,
    /// How long it has held the slot.
    pub held_for: Duration,
    /// Remaining time of its lease; `None` if the lease has expired.
    pub lease_left: Option<Duration>,
}

/// Returns all processors with their slots, by name and version. A given version selects only that one.
pub(crate) fn list(
    sql: &mut dyn Sql,
    partition: &Partition,
    version: Option<i32>,
) -> Result<Vec<ProcessorStatus>> {
    let mut slots = slots(sql, partition)?;
    let most = to_sql(MOST_LAG);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&most, Type::INT8),
        param(&version, Type::INT4),
    ];
    let rows = sql
        .query_unnamed(&partition.sql(PROCESSORS), &parameters)
        .map_err(|source| Error::in_partition("list the processors", &partition.name, source))?;
    let head = feed::head(sql, partition)?;
    let store_epoch = epoch::current(sql, partition)?;
    rows.iter()
        .map(|row| {
            let key = (get(row, "name")?, get(row, "version")?);
            let (projection, slots) = slots.remove(&key).unwrap_or_default();
            status(row, projection, slots, head, store_epoch)
        })
        .collect()
}

/// Projection and slots of a processor.
type Slots = (Option<String>, Vec<SlotStatus>);
type SlotsByProcessor = HashMap<(String, i32), Slots>;

fn slots(sql: &mut dyn Sql, partition: &Partition) -> Result<SlotsByProcessor> {
    let rows = sql
        .query(&partition.sql(SLOTS), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| Error::database("list the processors' slots", source))?;
    let mut slots = SlotsByProcessor::new();
    for row in &rows {
        let key = (get(row, "processor")?, get(row, "version")?);
        let (projection, slots) = slots.entry(key).or_default();
        *projection = get(row, "projection")?;
        slots.push(slot(row)?);
    }
    Ok(slots)
}

fn slot(row: &Row) -> Result<SlotStatus> {
    let busy_for: Option<i64> = get(row, "busy_microseconds")?;
    Ok(SlotStatus {
        slot: get_u32(row, "slot")?,
        position: get_u64(row, "position")?,
        epoch: get_u64(row, "epoch")?,
        holder: holder(row)?,
        crashes: get_u32(row, "crashes")?,
        attempts: get_u32(row, "attempts")?,
        failed: has_failed(row)?,
        last_error: get(row, "last_error")?,
        survived: survived(row)?,
        busy_for: busy_for.map(elapsed_from_sql),
        retry_at: get(row, "retry_at")?,
        updated_at: get(row, "updated_at")?,
        quiet_for: elapsed_from_sql(get(row, "quiet_microseconds")?),
    })
}

fn survived(row: &Row) -> Result<Option<SurvivedError>> {
    let Some(error) = get(row, "survived_error")? else {
        return Ok(None);
    };
    Ok(Some(SurvivedError {
        error,
        at: get(row, "survived_at")?,
        times: get_u32(row, "survived_count")?,
    }))
}

fn has_failed(row: &Row) -> Result<bool> {
    match get(row, "status")? {
        "active" => Ok(false),
        "failed" => Ok(true),
        other => Err(Error::stored(
            "the status of a slot",
            format!("\"{other}\""),
            "\"active\" or \"failed\"",
        )),
    }
}

fn holder(row: &Row) -> Result<Option<SlotHolder>> {
    let Some(owner) = get(row, "owner")? else {
        return Ok(None);
    };
    let lease_left: Option<i64> = get(row, "left_microseconds")?;
    Ok(Some(SlotHolder {
        owner,
        worker: get_u32(row, "worker")?,
        held_for: elapsed_from_sql(get(row, "held_microseconds")?),
        lease_left: lease_left.filter(|left| *left > 0).map(elapsed_from_sql),
    }))
}

fn status(
    row: &Row,
    projection: Option<String>,
    slots: Vec<SlotStatus>,
    head: u64,
    store_epoch: u64,
) -> Result<ProcessorStatus> {
    let lag_time: Option<i64> = get(row, "lag_microseconds")?;
    let lag_time = lag_time.map(elapsed_from_sql);
    let position = get_u64(row, "position")?;
    let error = |failed: bool| {
        let mut slots = slots.iter().filter(|slot| slot.failed == failed);
        slots.find_map(|slot| slot.last_error.clone())
    };
    let mut status = ProcessorStatus {
        name: get(row, "name")?,
        version: get_u32(row, "version")?,
        projection,
        state: ProcessorState::Stopped,
        position,
        head,
        epoch: get_u64(row, "epoch")?,
        store_epoch,
        lag: get_u64(row, "lag")?,
        lag_time,
        last_error: error(true).or_else(|| error(false)),
        survived: last_survived(&slots),
        parked: get_u64(row, "parked")?,
        waiting: get_u64(row, "waiting")?,
        slots,
    };
    let is_ahead = status.reach().check(&status.name).is_err();
    status.state = ProcessorState::of(&status.slots, is_ahead, status.lag_time);
    Ok(status)
}

//! How far the processors are, and who holds them.

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

/// A handler that runs for longer hangs; a processor that does not move for longer, although messages wait, stands still.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many errors in a row, without progress, are a repetition.
const REPETITION: u32 = 2;

/// Each processor once, so that its lag is counted once. Without slots, a rebuild has said where it will begin.
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

/// How far a processor is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessorStatus {
    /// Its name.
    pub name: String,
    /// The version of its code.
    pub version: u32,
    /// The projection that it keeps; `None` for a reactor, and for a processor that has not run here yet.
    pub projection: Option<String>,
    /// Whether it runs.
    pub state: ProcessorState,
    /// It has handled every message up to this global position; the lowest of its slots' positions.
    pub position: u64,
    /// The last global position that any append has drawn, of whatever tenant.
    pub head: u64,
    /// The [epoch](crate::EventStore::epoch) of the store in which its position holds; the lowest of its slots. Below
    /// `store_epoch`, it does not run until it is reset.
    pub epoch: u64,
    /// The epoch of the store.
    pub store_epoch: u64,
    /// Number of stored messages after its position, of whatever type; at most 1,000,000. Where it has several slots, some
    /// of them are handled already.
    pub lag: u64,
    /// How long ago the first of these messages was stored; `None` when there is none.
    pub lag_time: Option<Duration>,
    /// Its slots. None when only a rebuild has said where it will begin.
    pub slots: Vec<SlotStatus>,
    /// The last error of any slot; a slot that has failed comes first.
    pub last_error: Option<String>,
    /// The last error after which a worker of it went on.
    pub survived: Option<SurvivedError>,
    /// How many messages it could not handle and has parked.
    pub parked: u64,
    /// Number of messages that wait because an earlier one of their stream is parked.
    pub waiting: u64,
}

/// Whether a processor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessorState {
    /// A worker holds at least one of its slots, and nothing below is the case.
    Running,
    /// Its handler has been running for more than a minute.
    Hanging,
    /// A worker repeats what fails: several errors in a row, and messages wait.
    Repeating,
    /// A worker holds it, and messages have waited for more than a minute, but its position has not moved for as long. An open
    /// append may hold the feed back; [`EventStore::doctor`](crate::EventStore::doctor) knows.
    StandingStill,
    /// Nobody holds it.
    Stopped,
    /// Whoever held a slot of it has not renewed its lease in time and was not replaced yet.
    LeaseExpired,
    /// It is at a position that no append has drawn, or of an earlier epoch of the store, so it would skip events: it does not
    /// run until it is reset. [`ProcessorError::Ahead`](crate::error::ProcessorError::Ahead) and
    /// [`ProcessorError::OldEpoch`](crate::error::ProcessorError::OldEpoch) say more.
    Ahead,
    /// The database was not well for it: a lock, a timeout, a lost connection. It tries again by itself;
    /// [`last_error`](ProcessorStatus::last_error) and [`retry_at`](SlotStatus::retry_at) say why and when.
    Waiting,
    /// A slot of it has failed: it stays where it is until it is started anew or reset.
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

    /// Without messages that wait, there is nothing to move on to.
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

/// How far one slot of a processor is: all of its streams, or a fixed share of them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotStatus {
    /// Its number; the first is 0.
    pub slot: u32,
    /// The global position up to which it is done.
    pub position: u64,
    /// Rises whenever the slot is taken or reset.
    pub epoch: u64,
    /// Who holds it, or held it last and did not give it back.
    pub holder: Option<SlotHolder>,
    /// How often in a row its holder has died without getting on.
    pub crashes: u32,
    /// How often it has tried the message that it is at.
    pub attempts: u32,
    /// It has failed and is not taken any more.
    pub failed: bool,
    /// Why it has failed, or waits.
    pub last_error: Option<String>,
    /// The last error after which its holder went on.
    pub survived: Option<SurvivedError>,
    /// For how long its holder's handler has been running, if it was when the lease was renewed last.
    pub busy_for: Option<Duration>,
    /// When its holder tries again what the database was not well enough for, by the clock of the database server; `None`
    /// unless it [waits](ProcessorState::Waiting).
    pub retry_at: Option<SystemTime>,
    /// When it got on last, by the clock of the database server.
    pub updated_at: SystemTime,
    quiet_for: Duration,
}

impl SlotStatus {
    /// Whether its handler has been running for too long.
    pub(crate) fn hangs(&self) -> bool {
        self.busy_for.is_some_and(|time| time >= PATIENCE)
    }

    /// Whether its holder has survived several errors since it got on last.
    pub(crate) fn repeats(&self) -> bool {
        let survived = self.survived.as_ref();
        survived.is_some_and(|last| last.times >= REPETITION && last.at > self.updated_at)
    }

    /// Whether it was taken long ago and has not moved for as long.
    fn is_quiet(&self) -> bool {
        self.quiet_for >= PATIENCE
    }
}

/// Who holds a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotHolder {
    /// The process.
    pub owner: String,
    /// Its worker thread's number.
    pub worker: u32,
    /// How long it has held the slot.
    pub held_for: Duration,
    /// How long it holds the slot without renewing its lease; `None` when the lease has expired.
    pub lease_left: Option<Duration>,
}

/// All processors with their slots, by name and version; of one version only, where it is given.
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

/// The projection that a processor keeps, and its slots.
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

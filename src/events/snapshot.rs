//! Snapshots of states: a cache that spares a decision the events before a version. Owns the statements on `emt_snapshots`,
//! except for the read of decisions.

use super::partition::{Partition, PartitionSql};
use crate::database::position::to_sql;
use crate::database::{Sql, TextDigest, param};
use crate::error::{Error, Result};
use crate::json::JsonError;
use postgres::types::Type;
use std::sync::Arc;

/// Writes nothing for a message that is not committed, or that is lost. An older snapshot does not replace a newer one: calls
/// of several programs arrive in any order.
const WRITE: PartitionSql = PartitionSql::new(
    "
    INSERT INTO {schema}.emt_snapshots AS kept
           (partition, stream_id, state_type, state_version, stream_position, message_id, state)
    SELECT $1, $2, $3, $4, $5, $6, CAST($7 AS pg_catalog.json)
     WHERE EXISTS (SELECT FROM {messages_active} AS last
                    WHERE last.stream_id = $2 AND last.stream_position = $5 AND last.message_id = $6)
        ON CONFLICT (partition, stream_id, state_type) DO UPDATE
       SET state_version = excluded.state_version, stream_position = excluded.stream_position,
           message_id = excluded.message_id, state = excluded.state, created = pg_catalog.clock_timestamp()
     WHERE $8 OR kept.state_version <> excluded.state_version OR kept.stream_position < excluded.stream_position",
);

const DELETE: PartitionSql =
    PartitionSql::new("DELETE FROM {schema}.emt_snapshots WHERE partition = $1 AND stream_id = $2");

/// Longest name of a type that is stored as it is. An index entry has a limited size.
const LONGEST_TYPE: usize = 255;

/// The type of a state, and the version of its code.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct SnapshotFormat {
    pub(crate) state_type: String,
    pub(crate) state_version: u32,
}

impl SnapshotFormat {
    pub(crate) fn of<S>(state_version: u32) -> Self {
        let name = std::any::type_name::<S>();
        let state_type = if name.len() > LONGEST_TYPE {
            TextDigest::from(name).text()
        } else {
            name.to_owned()
        };
        Self {
            state_type,
            state_version,
        }
    }
}

/// A state to be kept.
#[doc(hidden)]
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) stream: Arc<str>,
    pub(crate) format: SnapshotFormat,
    /// Version of the stream up to which the state is folded.
    pub(crate) version: u64,
    /// Id of the message at that version.
    pub(crate) message_id: String,
    pub(crate) state: Vec<u8>,
    /// Whether it replaces any other: the one that was found could not be used.
    pub(crate) replaces_any: bool,
}

/// The reason for which a snapshot was not used. The events are read instead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableSnapshot {
    #[error("it was written by code with VERSION {0}")]
    OtherCode(i64),
    #[error("it is of version {0}, at which the stream does not have the snapshot's message")]
    OtherHistory(u64),
    #[error("its JSON does not fit the state")]
    Unreadable(#[source] JsonError),
}

/// Writes a snapshot, unless its message is not there or a newer one is.
pub(crate) fn write(sql: &mut dyn Sql, partition: &Partition, snapshot: &Snapshot) -> Result<()> {
    let stream = &*snapshot.stream;
    let state_version = i64::from(snapshot.format.state_version);
    let version = to_sql(snapshot.version);
    // `to_json` writes UTF-8.
    let state = String::from_utf8_lossy(&snapshot.state);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&stream, Type::TEXT),
        param(&snapshot.format.state_type, Type::TEXT),
        param(&state_version, Type::INT8),
        param(&version, Type::INT8),
        param(&snapshot.message_id, Type::TEXT),
        param(&state, Type::TEXT),
        param(&snapshot.replaces_any, Type::BOOL),
    ];
    sql.execute(&partition.sql(WRITE), &parameters)
        .map_err(|source| Error::in_partition("write a snapshot", &partition.name, source))?;
    Ok(())
}

/// Deletes the snapshots of a stream, and returns their number.
pub(crate) fn delete(sql: &mut dyn Sql, partition: &Partition, stream: &str) -> Result<u64> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&stream, Type::TEXT),
    ];
    sql.execute(&partition.sql(DELETE), &parameters)
        .map_err(|source| Error::in_partition("delete snapshots", &partition.name, source))
}

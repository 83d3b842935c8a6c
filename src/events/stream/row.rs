//! The row of a stream: version, metadata, archiving.

use super::name::check_stream_name;
use crate::database::position::{from_sql, get_u64};
use crate::database::{Jsonb, Sql, get, param, scalar};
use crate::error::{Error, Result};
use crate::events::partition::{Partition, PartitionSql};
use postgres::types::Type;
use serde_json::{Map, Value};

const VERSION: PartitionSql = PartitionSql::new("
    SELECT stream_position, stream_metadata FROM {streams_active} WHERE stream_id = $1 AND partition = $2");

const SET_METADATA: PartitionSql = PartitionSql::new(
    "
    UPDATE {streams_active} SET stream_metadata = $3 WHERE stream_id = $1 AND partition = $2",
);

const MOVE: PartitionSql = PartitionSql::new("SELECT {schema}.emt_stream_move($1, $2, $3)");

/// Returns the version and the metadata of a stream that is not archived.
pub(crate) fn version(
    sql: &mut dyn Sql,
    partition: &Partition,
    stream: &str,
) -> Result<Option<(u64, Map<String, Value>)>> {
    check_stream_name(stream)?;
    let parameters = [
        param(&stream, Type::TEXT),
        param(&partition.name, Type::TEXT),
    ];
    let rows = sql
        .query(&partition.sql(VERSION), &parameters)
        .map_err(|source| Error::in_partition("read a stream", &partition.name, source))?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let metadata = match get(row, "stream_metadata")? {
        Value::Object(map) => map,
        other => {
            let what = format!("the metadata of stream \"{stream}\"");
            return Err(Error::stored(what, other.to_string(), "an object"));
        }
    };
    Ok(Some((get_u64(row, "stream_position")?, metadata)))
}

/// Replaces the metadata of a stream. Returns false if the stream does not exist.
pub(crate) fn set_metadata(
    sql: &mut dyn Sql,
    partition: &Partition,
    stream: &str,
    json: &[u8],
) -> Result<bool> {
    check_stream_name(stream)?;
    let metadata = Jsonb(json);
    let parameters = [
        param(&stream, Type::TEXT),
        param(&partition.name, Type::TEXT),
        param(&metadata, Type::JSONB),
    ];
    let changed = sql
        .execute(&partition.sql(SET_METADATA), &parameters)
        .map_err(|source| {
            Error::in_partition("change a stream's metadata", &partition.name, source)
        })?;
    Ok(changed == 1)
}

/// Moves a stream to or from the archive. Returns `None` if the stream is not on the side that it should leave.
pub(crate) fn move_stream(
    sql: &mut dyn Sql,
    partition: &Partition,
    stream: &str,
    to_archive: bool,
) -> Result<Option<u64>> {
    check_stream_name(stream)?;
    let parameters = [
        param(&stream, Type::TEXT),
        param(&partition.name, Type::TEXT),
        param(&to_archive, Type::BOOL),
    ];
    let doing = if to_archive {
        "archive a stream"
    } else {
        "unarchive a stream"
    };
    let rows = sql
        .query(&partition.sql(MOVE), &parameters)
        .map_err(|source| Error::in_partition(doing, &partition.name, source))?;
    let version: Option<i64> = scalar(&rows)?.flatten();
    Ok(version.map(from_sql).transpose()?)
}

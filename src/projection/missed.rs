//! Events that inline projections have not handled yet. Owns the statements on `emt_missed`.

use crate::database::position::{from_sql, to_sql};
use crate::database::{ErrorText, SchemaSql, Sql, get, param, scalar, scalars};
use crate::error::{Error, Result};
use crate::events::{
    BatchLimits, InlineVersions, Page, Partition, PartitionSql, RecordedMessage, feed,
};
use postgres::types::Type;

const NOTE: PartitionSql = PartitionSql::new("SELECT {schema}.emt_missed_note($1, $2, $3, $4, $5)");

const PROJECTIONS: SchemaSql =
    SchemaSql::new("SELECT partition, name, version FROM {schema}.emt_missed_projections()");

const TRY_FOLLOW: PartitionSql = PartitionSql::new(
    "SELECT pg_catalog.pg_try_advisory_xact_lock({schema}.emt_missed_lock_key($1, $2))",
);

/// Missed events at or below a horizon, in order of position.
const READ: PartitionSql = PartitionSql::new(
    "
    SELECT global_position FROM {schema}.emt_missed
     WHERE partition = $1 AND name = $2 AND version = $3 AND global_position <= $4
     ORDER BY global_position
     LIMIT $5",
);

const DELETE: PartitionSql = PartitionSql::new(
    "
    DELETE FROM {schema}.emt_missed
     WHERE partition = $1 AND name = $2 AND version = $3 AND global_position <= $4",
);

const DELETE_OTHER_VERSIONS: PartitionSql = PartitionSql::new(
    "DELETE FROM {schema}.emt_missed WHERE partition = $1 AND name = $2 AND version <> $3",
);

const EXISTS: PartitionSql = PartitionSql::new(
    "
    SELECT EXISTS (SELECT FROM {schema}.emt_missed
                    WHERE partition = $1 AND name = $2 AND version = $3 AND global_position <= $4)",
);

/// Updates the first missed event only, because the follower handles events in order.
const FAIL: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_missed SET error = {schema}.emt_error_text($4)
     WHERE partition = $1 AND name = $2 AND version = $3
       AND global_position = (SELECT pg_catalog.min(missed.global_position) FROM {schema}.emt_missed AS missed
                               WHERE missed.partition = $1 AND missed.name = $2 AND missed.version = $3)",
);

const ADVANCE: PartitionSql = PartitionSql::new("SELECT {schema}.emt_missed_advance($1)");

/// A projection version with missed events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MissedProjection {
    pub(crate) partition: String,
    pub(crate) name: String,
    pub(crate) version: i32,
}

/// Notes messages that were stored without `emt_append`. Returns the projections that the caller has to run.
pub(crate) fn note(
    sql: &mut dyn Sql,
    partition: &Partition,
    inline: Option<&InlineVersions>,
    messages: &[&RecordedMessage],
) -> Result<Vec<String>> {
    let versions = inline.map(InlineVersions::as_jsonb);
    let streams: Vec<&str> = messages
        .iter()
        .map(|message| &*message.stream_name)
        .collect();
    let types: Vec<&str> = messages
        .iter()
        .map(|message| message.message_type.as_str())
        .collect();
    let positions: Vec<i64> = messages
        .iter()
        .map(|message| to_sql(message.global_position))
        .collect();
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&versions, Type::JSONB),
        param(&streams, Type::TEXT_ARRAY),
        param(&types, Type::TEXT_ARRAY),
        param(&positions, Type::INT8_ARRAY),
    ];
    let rows = sql
        .query(&partition.sql(NOTE), &parameters)
        .map_err(|source| Error::in_partition("note messages", &partition.name, source))?;
    let numbers: Vec<i64> = scalar(&rows)?.unwrap_or_default();
    Ok(inline.map_or_else(Vec::new, |inline| inline.numbered_all(&numbers)))
}

/// Lists the projections with missed events, of all partitions.
pub(crate) fn projections(sql: &mut dyn Sql, schema: &str) -> Result<Vec<MissedProjection>> {
    let rows = sql
        .query(&PROJECTIONS.in_schema(schema), &[])
        .map_err(|source| Error::database("list projections with missed events", source))?;
    rows.iter()
        .map(|row| {
            Ok(MissedProjection {
                partition: get(row, "partition")?,
                name: get(row, "name")?,
                version: get(row, "version")?,
            })
        })
        .collect()
}

/// Makes this transaction the only follower of a projection. Returns false if another transaction follows it.
pub(crate) fn try_follow(sql: &mut dyn Sql, partition: &Partition, name: &str) -> Result<bool> {
    let parameters = [param(&partition.name, Type::TEXT), param(&name, Type::TEXT)];
    let rows = sql
        .query(&partition.sql(TRY_FOLLOW), &parameters)
        .map_err(|source| Error::in_partition("follow a projection", &partition.name, source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Returns the first missed events at or below a horizon, and the position up to which there are no others.
pub(crate) fn read(
    sql: &mut dyn Sql,
    partition: &Partition,
    (name, version): (&str, i32),
    horizon: u64,
    limits: BatchLimits,
) -> Result<Page> {
    let (up_to, limit) = (to_sql(horizon), to_sql(limits.messages));
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
        param(&up_to, Type::INT8),
        param(&limit, Type::INT8),
    ];
    let rows = sql
        .query(&partition.sql(READ), &parameters)
        .map_err(|source| Error::in_partition("read missed events", &partition.name, source))?;
    let positions: Vec<i64> = scalars(&rows)?;
    let messages = feed::at(sql, partition, &positions, limits)?;
    let position = match (messages.last(), positions.last()) {
        (Some(last), _) if messages.len() < positions.len() => last.global_position,
        (_, Some(&last)) if positions.len() >= limits.messages => from_sql(last)?,
        _ => horizon,
    };
    Ok(Page { messages, position })
}

/// Deletes the missed events at or below a position.
pub(crate) fn delete(
    sql: &mut dyn Sql,
    partition: &Partition,
    (name, version): (&str, i32),
    up_to: u64,
) -> Result<()> {
    let up_to = to_sql(up_to);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
        param(&up_to, Type::INT8),
    ];
    sql.execute(&partition.sql(DELETE), &parameters)
        .map_err(|source| Error::in_partition("follow a projection", &partition.name, source))?;
    Ok(())
}

/// Deletes the missed events of a projection's other versions.
pub(crate) fn delete_other_versions(
    sql: &mut dyn Sql,
    partition: &Partition,
    (name, version): (&str, i32),
) -> Result<()> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
    ];
    sql.execute(&partition.sql(DELETE_OTHER_VERSIONS), &parameters)
        .map_err(|source| Error::in_partition("activate a projection", &partition.name, source))?;
    Ok(())
}

/// Returns whether a projection has missed an event at or below a position.
pub(crate) fn exists(
    sql: &mut dyn Sql,
    partition: &Partition,
    (name, version): (&str, i32),
    up_to: u64,
) -> Result<bool> {
    let up_to = to_sql(up_to);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
        param(&up_to, Type::INT8),
    ];
    let rows = sql
        .query(&partition.sql(EXISTS), &parameters)
        .map_err(|source| Error::in_partition("read missed events", &partition.name, source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Stores the error of the first missed event.
pub(crate) fn fail(
    sql: &mut dyn Sql,
    partition: &Partition,
    (name, version): (&str, i32),
    error: &str,
) -> Result<()> {
    let error = ErrorText::new(error);
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&name, Type::TEXT),
        param(&version, Type::INT4),
        param(&error, Type::BYTEA),
    ];
    sql.execute(&partition.sql(FAIL), &parameters)
        .map_err(|source| Error::in_partition("note a failure", &partition.name, source))?;
    Ok(())
}

/// Raises `missed_after`, so that later reads skip deleted rows.
pub(crate) fn advance(sql: &mut dyn Sql, partition: &Partition) -> Result<()> {
    sql.query(
        &partition.sql(ADVANCE),
        &[param(&partition.name, Type::TEXT)],
    )
    .map_err(|source| Error::in_partition("follow projections", &partition.name, source))?;
    Ok(())
}

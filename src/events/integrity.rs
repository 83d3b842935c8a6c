//! What the feed and the appends rely on, as it is in the database.

use crate::database::position::{from_sql, to_sql};
use crate::database::{Sql, get, param, scalar, scalars};
use crate::error::{Error, Result};
use crate::events::partition::{Partition, PartitionSql};
use postgres::Row;
use postgres::types::Type;

const PARTITIONS: PartitionSql =
    PartitionSql::new("SELECT partition FROM {schema}.emt_partitions ORDER BY partition");

const HIGHEST: PartitionSql =
    PartitionSql::new("SELECT pg_catalog.max(global_position) FROM {messages}");

const SEQUENCE: PartitionSql = PartitionSql::new(
    "
    SELECT seqcache, seqincrement, seqcycle
      FROM pg_sequence
     WHERE seqrelid = '{schema}.emt_global_message_position'::REGCLASS::OID
       AND (seqcache <> 1 OR seqincrement < 1 OR seqcycle)",
);

/// Looks the tables up in the catalogue: `pg_partition_tree` would lock all of them at once.
const UNFENCED: PartitionSql = PartitionSql::new("
    WITH RECURSIVE tree (relid) AS (
        SELECT '{schema}.emt_messages'::REGCLASS::OID
         UNION ALL
        SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.relid
    )
    SELECT tree.relid::REGCLASS::TEXT
      FROM tree
      JOIN pg_attribute AS attribute ON attribute.attrelid = tree.relid AND attribute.attname = 'global_position'
     WHERE NOT attribute.attnotnull
        OR NOT EXISTS (
               SELECT FROM pg_attrdef AS given
                 JOIN pg_depend AS used
                   ON used.classid = 'pg_attrdef'::REGCLASS::OID AND used.objid = given.oid
                  AND used.refclassid = 'pg_proc'::REGCLASS::OID
                  AND used.refobjid = '{schema}.emt_position_next()'::REGPROCEDURE::OID
                WHERE given.adrelid = tree.relid AND given.adnum = attribute.attnum)
     ORDER BY 1");

const FEED_INDEX: PartitionSql = PartitionSql::new("
    SELECT EXISTS (SELECT FROM pg_index
                    WHERE indexrelid = pg_catalog.to_regclass('{schema}.emt_messages_feed')::OID AND indisunique AND indisvalid)");

const SECOND_STREAM_INDEX: PartitionSql =
    PartitionSql::new("SELECT pg_catalog.to_regclass('{schema}.idx_streams_unique') IS NOT NULL");

/// One more than is named.
const TWICE: PartitionSql = PartitionSql::new(
    "
    SELECT active.stream_id
      FROM {streams_active} AS active
      JOIN {streams_archived} AS archived USING (stream_id)
     ORDER BY active.stream_id
     LIMIT 4",
);

/// Those of these streams whose row is not at the version of the last message. One snapshot sees both, so an append meanwhile is
/// no difference.
const DIFFERENT: PartitionSql = PartitionSql::new(
    "
    SELECT met.id AS stream, stream.stream_position AS version, last.version AS last
      FROM pg_catalog.unnest($1) AS met (id)
      LEFT JOIN {streams} AS stream ON stream.stream_id = met.id
     CROSS JOIN LATERAL (
           SELECT pg_catalog.max(message.stream_position) AS version FROM {messages} AS message
            WHERE message.stream_id = met.id
              AND (stream.is_archived IS NULL OR message.is_archived = stream.is_archived)) AS last
     WHERE last.version IS DISTINCT FROM stream.stream_position",
);

/// The same for all streams, up to a number, and a few that differ.
const DIFFERENT_OF_ALL: PartitionSql = PartitionSql::new(
    "
    SELECT stream.stream_id AS stream, stream.stream_position AS version, last.version AS last
      FROM (SELECT stream_id, stream_position, is_archived FROM {streams} LIMIT $1) AS stream
     CROSS JOIN LATERAL (
           SELECT pg_catalog.max(message.stream_position) AS version FROM {messages} AS message
            WHERE message.stream_id = stream.stream_id AND message.is_archived = stream.is_archived) AS last
     WHERE last.version IS DISTINCT FROM stream.stream_position
     LIMIT $2",
);

/// Streams without any message.
const EMPTY: PartitionSql = PartitionSql::new(
    "
    SELECT stream.stream_id AS stream, stream.stream_position AS version, NULL::BIGINT AS last
      FROM {streams} AS stream
     WHERE NOT EXISTS (SELECT FROM {messages} AS message WHERE message.stream_id = stream.stream_id)
     ORDER BY stream.stream_id COLLATE \"C\"",
);

/// A stream whose row and messages do not fit.
#[derive(Debug)]
pub(crate) struct UnevenStream {
    pub(crate) stream: String,
    /// The version that its row says; `None` without a row.
    version: Option<u64>,
    /// The version of its last message; `None` without messages.
    last: Option<u64>,
}

impl std::fmt::Display for UnevenStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stream = &self.stream;
        match (self.version, self.last) {
            (None, None) => write!(formatter, "Stream \"{stream}\" is not there any more."),
            (None, Some(last)) => write!(
                formatter,
                "Stream \"{stream}\" has messages up to version {last} and no row in emt_streams."
            ),
            (Some(version), None) => write!(
                formatter,
                "Stream \"{stream}\" is at version {version} and has no messages: events are missing."
            ),
            (Some(version), Some(last)) if version > last => write!(
                formatter,
                "Stream \"{stream}\" is at version {version}, its last message at {last}: events are missing."
            ),
            (Some(version), Some(last)) => write!(
                formatter,
                "Stream \"{stream}\" is at version {version}, its last message at {last}: its row is behind."
            ),
        }
    }
}

/// Settings of the sequence of positions.
pub(crate) struct SequenceSettings {
    pub(crate) cache: i64,
    pub(crate) increment: i64,
    pub(crate) cycles: bool,
}

/// The highest position of a message of any tenant; 0 without messages. Asks for each tenant by itself: a statement on the
/// tables of all would need some locks for each, and the server may have fewer.
pub(crate) fn highest_position(sql: &mut dyn Sql, partition: &Partition) -> Result<u64> {
    let rows = sql
        .query_unnamed(&partition.sql(PARTITIONS), &[])
        .map_err(refused)?;
    let names: Vec<String> = scalars(&rows)?;
    let highest = names
        .iter()
        .map(|name| highest_of(sql, &Partition::new(partition.schema(), name)?));
    highest
        .into_iter()
        .try_fold(0, |highest, one| Ok(one?.max(highest)))
}

fn highest_of(sql: &mut dyn Sql, partition: &Partition) -> Result<u64> {
    let rows = sql
        .query_unnamed(&partition.sql(HIGHEST), &[])
        .map_err(refused)?;
    let highest: Option<i64> = scalar(&rows)?.flatten();
    Ok(highest.map_or(Ok(0), from_sql)?)
}

/// The settings of the sequence, where the feed could lose messages with them.
pub(crate) fn unsafe_sequence(
    sql: &mut dyn Sql,
    partition: &Partition,
) -> Result<Option<SequenceSettings>> {
    let rows = rows(sql, partition, SEQUENCE)?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some(SequenceSettings {
        cache: get(row, "seqcache")?,
        increment: get(row, "seqincrement")?,
        cycles: get(row, "seqcycle")?,
    }))
}

/// Tables of messages whose positions need not be drawn through the fence.
pub(crate) fn unfenced_tables(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<String>> {
    let rows = rows(sql, partition, UNFENCED)?;
    Ok(scalars(&rows)?)
}

/// Whether the feed's index is there, unique and valid.
pub(crate) fn has_feed_index(sql: &mut dyn Sql, partition: &Partition) -> Result<bool> {
    let rows = rows(sql, partition, FEED_INDEX)?;
    Ok(scalar(&rows)?.unwrap_or(true))
}

/// Whether there is an index of Emmett's that costs every append a second index entry.
pub(crate) fn has_second_stream_index(sql: &mut dyn Sql, partition: &Partition) -> Result<bool> {
    let rows = rows(sql, partition, SECOND_STREAM_INDEX)?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Streams that are active and archived at once; at most four.
pub(crate) fn streams_twice(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<String>> {
    let rows = sql
        .query_unnamed(&partition.sql(TWICE), &[])
        .map_err(refused)?;
    Ok(scalars(&rows)?)
}

/// Those of these streams whose row does not fit their messages.
pub(crate) fn uneven_among(
    sql: &mut dyn Sql,
    partition: &Partition,
    streams: &[&str],
) -> Result<Vec<UnevenStream>> {
    let rows = sql
        .query_unnamed(
            &partition.sql(DIFFERENT),
            &[param(&streams, Type::TEXT_ARRAY)],
        )
        .map_err(refused)?;
    uneven(&rows)
}

/// Streams that have a row and no message.
pub(crate) fn empty_streams(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<UnevenStream>> {
    let rows = sql
        .query_unnamed(&partition.sql(EMPTY), &[])
        .map_err(refused)?;
    uneven(&rows)
}

/// Some of the streams whose row does not fit their messages. Looks at `most_examined` streams at the most.
pub(crate) fn some_uneven(
    sql: &mut dyn Sql,
    partition: &Partition,
    most_examined: i64,
    most: usize,
) -> Result<Vec<UnevenStream>> {
    let most = to_sql(most);
    let limits = [param(&most_examined, Type::INT8), param(&most, Type::INT8)];
    let rows = sql
        .query_unnamed(&partition.sql(DIFFERENT_OF_ALL), &limits)
        .map_err(refused)?;
    uneven(&rows)
}

fn uneven(rows: &[Row]) -> Result<Vec<UnevenStream>> {
    let version = |row: &Row, column| -> Result<Option<u64>> {
        let version: Option<i64> = get(row, column)?;
        Ok(version.map(from_sql).transpose()?)
    };
    rows.iter()
        .map(|row| {
            Ok(UnevenStream {
                stream: get(row, "stream")?,
                version: version(row, "version")?,
                last: version(row, "last")?,
            })
        })
        .collect()
}

fn rows(sql: &mut dyn Sql, partition: &Partition, statement: PartitionSql) -> Result<Vec<Row>> {
    sql.query(&partition.sql(statement), &[]).map_err(refused)
}

fn refused(source: postgres::Error) -> Error {
    Error::database("examine the store", source)
}

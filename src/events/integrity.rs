//! Checks of the database objects that the feed and the appends rely on.

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

/// Reads the catalogue: `pg_partition_tree` would lock all tables at once.
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

/// Returns one stream more than a report names.
const TWICE: PartitionSql = PartitionSql::new(
    "
    SELECT active.stream_id
      FROM {streams_active} AS active
      JOIN {streams_archived} AS archived USING (stream_id)
     ORDER BY active.stream_id
     LIMIT 4",
);

/// The streams of a list whose row differs from the version of the last message. Both are read in one snapshot, so a
/// concurrent append causes no difference.
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

/// The same over all streams, up to a number; returns a few that differ.
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

/// A stream whose row and messages disagree.
#[derive(Debug)]
pub(crate) struct UnevenStream {
    pub(crate) stream: String,
    /// Version in its row; `None` without a row.
    version: Option<u64>,
    /// Version of its last message; `None` without messages.
    last: Option<u64>,
}

impl std::fmt::Display for UnevenStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stream = &self.stream;
        match (self.version, self.last) {
            (None, None) => write!(formatter, "Stream \"{stream}\" does not exist any more."),
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
                "Stream \"{stream}\" is at version {version}, its last message at {last}: its row is out of date."
            ),
        }
    }
}

/// The settings of the sequence of positions.
pub(crate) struct SequenceSettings {
    pub(crate) cache: i64,
    pub(crate) increment: i64,
    pub(crate) cycles: bool,
}

/// Returns the highest position of a message of any tenant; 0 without messages. Asks one tenant at a time. A statement on
/// all tables would take locks on each, and the server may have too few.
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

/// Returns the settings of the sequence if the feed could lose messages with them.
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

/// Returns the message tables whose positions can be drawn outside the fence.
pub(crate) fn unfenced_tables(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<String>> {
    let rows = rows(sql, partition, UNFENCED)?;
    Ok(scalars(&rows)?)
}

/// Whether the feed's index exists, is unique and is valid.
pub(crate) fn has_feed_index(sql: &mut dyn Sql, partition: &Partition) -> Result<bool> {
    let rows = rows(sql, partition, FEED_INDEX)?;
    Ok(scalar(&rows)?.unwrap_or(true))
}

/// Whether one of Emmett's indexes exists that costs every append a second index entry.
pub(crate) fn has_second_stream_index(sql: &mut dyn Sql, partition: &Partition) -> Result<bool> {
    let rows = rows(sql, partition, SECOND_STREAM_INDEX)?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

/// Returns streams that are both active and archived; at most four.
pub(crate) fn streams_twice(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<String>> {
    let rows = sql
        .query_unnamed(&partition.sql(TWICE), &[])
        .map_err(refused)?;
    Ok(scalars(&rows)?)
}

/// Returns the streams of a list whose row disagrees with their messages.
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

/// Returns streams that have a row and no messages.
pub(crate) fn empty_streams(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<UnevenStream>> {
    let rows = sql
        .query_unnamed(&partition.sql(EMPTY), &[])
        .map_err(refused)?;
    uneven(&rows)
}

/// Returns some of the streams whose row disagrees with their messages. Examines at most `most_examined` streams.
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

//! What the feed and the appends rely on, as it is in the database.

use crate::database::position::from_sql;
use crate::database::{Sql, get, scalar, scalars};
use crate::error::{Error, Result};
use crate::events::partition::{Partition, PartitionSql};
use postgres::Row;

const HIGHEST: PartitionSql =
    PartitionSql::new("SELECT max(global_position) FROM {schema}.emt_messages");

const SEQUENCE: PartitionSql = PartitionSql::new(
    "
    SELECT seqcache, seqincrement, seqcycle
      FROM pg_sequence
     WHERE seqrelid = '{schema}.emt_global_message_position'::REGCLASS
       AND (seqcache <> 1 OR seqincrement < 1 OR seqcycle)",
);

const UNFENCED: PartitionSql = PartitionSql::new("
    SELECT tree.relid::REGCLASS::TEXT
      FROM pg_partition_tree('{schema}.emt_messages'::REGCLASS) AS tree
      JOIN pg_attribute AS attribute ON attribute.attrelid = tree.relid AND attribute.attname = 'global_position'
     WHERE NOT attribute.attnotnull
        OR NOT EXISTS (
               SELECT FROM pg_attrdef AS given
                 JOIN pg_depend AS used
                   ON used.classid = 'pg_attrdef'::REGCLASS AND used.objid = given.oid
                  AND used.refclassid = 'pg_proc'::REGCLASS
                  AND used.refobjid = '{schema}.emt_position_next()'::REGPROCEDURE
                WHERE given.adrelid = tree.relid AND given.adnum = attribute.attnum)
     ORDER BY 1");

const FEED_INDEX: PartitionSql = PartitionSql::new("
    SELECT EXISTS (SELECT FROM pg_index
                    WHERE indexrelid = to_regclass('{schema}.emt_messages_feed') AND indisunique AND indisvalid)");

const SECOND_STREAM_INDEX: PartitionSql =
    PartitionSql::new("SELECT to_regclass('{schema}.idx_streams_unique') IS NOT NULL");

/// One more than is named.
const TWICE: PartitionSql = PartitionSql::new(
    "
    SELECT active.stream_id
      FROM {streams_active} AS active
      JOIN {streams_archived} AS archived USING (stream_id)
     ORDER BY active.stream_id
     LIMIT 4",
);

/// Settings of the sequence of positions.
pub(crate) struct SequenceSettings {
    pub(crate) cache: i64,
    pub(crate) increment: i64,
    pub(crate) cycles: bool,
}

/// The highest position of a message of any tenant; 0 without messages.
pub(crate) fn highest_position(sql: &mut dyn Sql, partition: &Partition) -> Result<u64> {
    let rows = sql
        .query_unnamed(&partition.sql(HIGHEST), &[])
        .map_err(refused)?;
    let highest: Option<i64> = scalar(&rows)?.flatten();
    Ok(highest.map_or(0, from_sql))
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

fn rows(sql: &mut dyn Sql, partition: &Partition, statement: PartitionSql) -> Result<Vec<Row>> {
    sql.query(&partition.sql(statement), &[]).map_err(refused)
}

fn refused(source: postgres::Error) -> Error {
    Error::database("examine the store", source)
}

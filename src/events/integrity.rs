//! What the feed and the appends rely on, as it is in the database.

use crate::database::position::from_sql;
use crate::database::{Sql, get, scalar, scalars};
use crate::error::{Error, Result};
use crate::events::partition::{Partition, PartitionSql};
use postgres::Row;

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

fn rows(sql: &mut dyn Sql, partition: &Partition, statement: PartitionSql) -> Result<Vec<Row>> {
    sql.query(&partition.sql(statement), &[]).map_err(refused)
}

fn refused(source: postgres::Error) -> Error {
    Error::database("examine the store", source)
}

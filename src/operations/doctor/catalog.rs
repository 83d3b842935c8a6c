//! What the feed and the appends rely on.

use super::finding::{Finding, FindingKind, Severity, refused};
use crate::database::position::from_sql;
use crate::database::{Sql, get, param, scalar, scalars};
use crate::error::Result;
use crate::events::feed;
use crate::events::partition::{Partition, PartitionSql};
use postgres::types::Type;

const POSITIONS: PartitionSql = PartitionSql::new("{schema}.emt_global_message_position");
const NEXT_POSITION: PartitionSql = PartitionSql::new("{schema}.emt_position_next()");
const SECOND_STREAM_INDEX: PartitionSql = PartitionSql::new("{schema}.idx_streams_unique");

const HIGHEST: PartitionSql =
    PartitionSql::new("SELECT max(global_position) FROM {schema}.emt_messages");

const SEQUENCE: PartitionSql = PartitionSql::new(
    "
    SELECT seqcache, seqincrement, seqcycle
      FROM pg_sequence
     WHERE seqrelid = '{schema}.emt_global_message_position'::REGCLASS
       AND (seqcache <> 1 OR seqincrement < 1 OR seqcycle)",
);

/// Tables of messages whose positions need not be drawn through the fence.
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
                    WHERE indexrelid = to_regclass('{schema}.emt_messages_feed') AND indisunique AND indisvalid) AS has_feed,
           to_regclass('{schema}.idx_streams_unique') IS NOT NULL AS has_second");

/// One more than is named.
const TWICE: PartitionSql = PartitionSql::new(
    "
    SELECT active.stream_id
      FROM {streams_active} AS active
      JOIN {streams_archived} AS archived USING (stream_id)
     ORDER BY active.stream_id
     LIMIT 4",
);

const STALE: PartitionSql = PartitionSql::new(
    "
    SELECT name, version FROM {schema}.emt_projections
     WHERE partition = $1 AND type = 'i' AND status = 'stale'
     ORDER BY name, version",
);

pub(super) fn examine(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    findings.extend(sequence_behind(sql, partition)?);
    findings.extend(sequence_settings(sql, partition)?);
    findings.extend(position_default(sql, partition)?);
    findings.extend(indexes(sql, partition)?);
    findings.extend(streams_twice(sql, partition)?);
    findings.extend(stale_projections(sql, partition)?);
    Ok(findings)
}

/// The table first, then the sequence: an append between the two must not look like a fault.
fn sequence_behind(sql: &mut dyn Sql, partition: &Partition) -> Result<Option<Finding>> {
    let rows = sql
        .query_unnamed(&partition.sql(HIGHEST), &[])
        .map_err(refused)?;
    let highest: Option<i64> = scalar(&rows)?.flatten();
    let highest = highest.map_or(0, from_sql);
    let last = feed::head(sql, partition)?;
    if highest <= last {
        return Ok(None);
    }
    let sequence = partition.sql(POSITIONS);
    Ok(Some(Finding::new(
        FindingKind::SequenceBehind,
        Severity::Serious,
        format!(
            "The sequence of the positions is at {last}, but there is a message at {highest}: appends will fail, or not be delivered."
        ),
        format!("Was the database restored? SELECT setval('{sequence}', {highest})"),
    )))
}

fn sequence_settings(sql: &mut dyn Sql, partition: &Partition) -> Result<Option<Finding>> {
    let rows = sql.query(&partition.sql(SEQUENCE), &[]).map_err(refused)?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let (cache, increment, cycles): (i64, i64, bool) = (
        get(row, "seqcache")?,
        get(row, "seqincrement")?,
        get(row, "seqcycle")?,
    );
    let cycle = if cycles { "CYCLE" } else { "NO CYCLE" };
    let sequence = partition.sql(POSITIONS);
    Ok(Some(Finding::new(
        FindingKind::SequenceSettings,
        Severity::Serious,
        format!(
            "The sequence of the positions has CACHE {cache} INCREMENT {increment} {cycle}: the feed may lose messages."
        ),
        format!("ALTER SEQUENCE {sequence} CACHE 1 INCREMENT 1 NO CYCLE"),
    )))
}

fn position_default(sql: &mut dyn Sql, partition: &Partition) -> Result<Option<Finding>> {
    let rows = sql.query(&partition.sql(UNFENCED), &[]).map_err(refused)?;
    let tables: Vec<String> = scalars(&rows)?;
    let Some(first) = tables.first() else {
        return Ok(None);
    };
    let default = partition.sql(NEXT_POSITION);
    Ok(Some(Finding::new(
        FindingKind::PositionDefault,
        Severity::Serious,
        format!(
            "The column global_position of {} does not draw its positions through the fence: the feed may lose \
             what other programs insert there.",
            tables.join(", ")
        ),
        format!(
            "ALTER TABLE {first} ALTER COLUMN global_position SET DEFAULT {default}, \
             ALTER COLUMN global_position SET NOT NULL"
        ),
    )))
}

fn indexes(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Finding>> {
    let rows = sql
        .query(&partition.sql(FEED_INDEX), &[])
        .map_err(refused)?;
    let (has_feed, has_second): (bool, bool) = match rows.first() {
        Some(row) => (get(row, "has_feed")?, get(row, "has_second")?),
        None => (true, false),
    };
    let mut findings = Vec::new();
    if !has_feed {
        findings.push(Finding::new(
            FindingKind::FeedIndex,
            Severity::Serious,
            "The index emt_messages_feed is missing or not valid: the feed is slow, and two messages may get one position.",
            "Drop what is left of it and apply the schema again: emmett migrate sql --print | psql -v ON_ERROR_STOP=1 -1 -f -",
        ));
    }
    if has_second {
        let index = partition.sql(SECOND_STREAM_INDEX);
        findings.push(Finding::new(
            FindingKind::SecondStreamIndex,
            Severity::Warning,
            "The index idx_streams_unique, which Emmett has created, makes appends slower and serves nothing.",
            format!("DROP INDEX {index}"),
        ));
    }
    Ok(findings)
}

fn streams_twice(sql: &mut dyn Sql, partition: &Partition) -> Result<Option<Finding>> {
    let rows = sql
        .query_unnamed(&partition.sql(TWICE), &[])
        .map_err(refused)?;
    let streams: Vec<String> = scalars::<String>(&rows)?
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    if streams.is_empty() {
        return Ok(None);
    }
    let more = if streams.len() > 3 { " and more" } else { "" };
    Ok(Some(Finding::new(
        FindingKind::StreamTwice,
        Severity::Serious,
        format!(
            "Streams that are active and archived at once: {}{more}. Each has two rows and two sets of versions.",
            streams[..streams.len().min(3)].join(", ")
        ),
        "Was one moved by hand? Keep the row and the messages that are right, and delete the others.",
    )))
}

fn stale_projections(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Finding>> {
    let rows = sql
        .query_unnamed(&partition.sql(STALE), &[param(&partition.name, Type::TEXT)])
        .map_err(refused)?;
    rows.iter()
        .map(|row| {
            let (name, version): (String, i32) = (get(row, "name")?, get(row, "version")?);
            Ok(Finding::new(
                FindingKind::StaleProjection,
                Severity::Serious,
                format!("The inline projection \"{name}\" (version {version}) is stale: it misses events, and appends with it are refused."),
                "Rebuild it with the program that has it.",
            ))
        })
        .collect()
}

//! The processors that clients of Emmett's know, in a database that was adopted and in one that was not yet.

use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::{Partition, PartitionSql};
use postgres::Row;
use postgres::types::Type;

/// Emmett's table, or this library's view. An id is not told what it keeps, unless by Emmett's default for projectors.
const PROCESSORS: PartitionSql = PartitionSql::new(
    "
    SELECT processor_id, version, partition, status = 'running'::TEXT AS is_running, processor_instance_id,
           last_processed_checkpoint,
           pg_catalog.substring(processor_id, '^emt:processor:projector:(.*)$'::TEXT) AS projection
      FROM {schema}.emt_processors
     WHERE partition = $1
     ORDER BY processor_id COLLATE \"C\", version",
);

/// A processor, as clients of Emmett's see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeighbourProcessor {
    /// Its id: the name that a program has to give it, unless it is Emmett's name for a projector.
    pub id: String,
    /// The version of its code.
    pub version: i32,
    /// The partition, `emt:default` without tenants.
    pub partition: String,
    /// The instance that holds it.
    pub holder: Option<String>,
    /// Its checkpoint, as Emmett writes it.
    pub checkpoint: String,
    /// The projection that it keeps, where its id is Emmett's name for the projector of one.
    pub projection: Option<String>,
}

/// Those of a partition.
pub(crate) fn list(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<NeighbourProcessor>> {
    let of_partition = [param(&partition.name, Type::TEXT)];
    sql.query_unnamed(&partition.sql(PROCESSORS), &of_partition)
        .map_err(|source| Error::database("list the processors of Emmett's clients", source))?
        .iter()
        .map(processor)
        .collect()
}

fn processor(row: &Row) -> Result<NeighbourProcessor> {
    let holder: Option<String> = get(row, "processor_instance_id")?;
    let is_running: bool = get(row, "is_running")?;
    Ok(NeighbourProcessor {
        id: get(row, "processor_id")?,
        version: get(row, "version")?,
        partition: get(row, "partition")?,
        holder: holder.filter(|_| is_running),
        checkpoint: get(row, "last_processed_checkpoint")?,
        projection: get(row, "projection")?,
    })
}

const NAMES: PartitionSql = PartitionSql::new(
    "
    SELECT DISTINCT emmett_name AS name FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND emmett_name IS NOT NULL
     ORDER BY name",
);

/// The ids of the processors that a client of Emmett's has run in a partition.
pub(crate) fn ids(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<String>> {
    sql.query_unnamed(&partition.sql(NAMES), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| Error::database("list the processors of Emmett's clients", source))?
        .iter()
        .map(|row| Ok(get(row, "name")?))
        .collect()
}

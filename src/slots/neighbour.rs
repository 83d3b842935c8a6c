//! Processors of Emmett's clients, in adopted databases and before the adoption.

use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::{Partition, PartitionSql};
use postgres::Row;
use postgres::types::Type;

/// Emmett's table, or this library's view. An id names its projection only if it is Emmett's default id of a projector.
const PROCESSORS: PartitionSql = PartitionSql::new(
    "
    SELECT processor_id, version, partition, status = 'running'::TEXT AS is_running, processor_instance_id,
           last_processed_checkpoint,
           pg_catalog.substring(processor_id, '^emt:processor:projector:(.*)$'::TEXT) AS projection
      FROM {schema}.emt_processors
     WHERE partition = $1
     ORDER BY processor_id COLLATE \"C\", version",
);

/// A processor, as Emmett's clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeighbourProcessor {
    /// Id of the processor. A program that continues it has to use this name, unless it is Emmett's name for a projector.
    pub id: String,
    /// Version of its code.
    pub version: i32,
    /// Partition; `emt:default` without tenants.
    pub partition: String,
    /// Instance that holds it.
    pub holder: Option<String>,
    /// Checkpoint, in Emmett's format.
    pub checkpoint: String,
    /// Projection that it maintains, if its id is Emmett's name for a projector.
    pub projection: Option<String>,
}

/// Returns the processors of a partition.
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

/// Returns the ids of the processors that an Emmett client has run in a partition.
pub(crate) fn ids(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<String>> {
    sql.query_unnamed(&partition.sql(NAMES), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| Error::database("list the processors of Emmett's clients", source))?
        .iter()
        .map(|row| Ok(get(row, "name")?))
        .collect()
}

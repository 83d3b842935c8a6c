//! Projections that Emmett's clients have registered, and that no program of this library has taken over.

use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::{Partition, PartitionSql};
use postgres::Row;
use postgres::types::Type;

const PROJECTIONS: PartitionSql = PartitionSql::new(
    "
    SELECT name, version, partition, kind, status FROM {schema}.emt_projections
     WHERE partition = $1 AND NOT definition ? 'handles'::TEXT
     ORDER BY name COLLATE \"C\", version",
);

/// A projection that is registered by one of Emmett's clients.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeighbourProjection {
    /// Name of the projection.
    pub name: String,
    /// Version of the projection's code.
    pub version: i32,
    /// Name of the partition; `emt:default` without tenants.
    pub partition: String,
    /// Kind of the projection. Emmett does not record whether it is inline or asynchronous.
    pub kind: String,
    /// `active`, `inactive` or `async_processing`. The last one means that a client's projector runs, and no append
    /// updates the projection.
    pub status: String,
}

/// Lists the projections of Emmett's clients in a partition.
pub(crate) fn list(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<NeighbourProjection>> {
    let of_partition = [param(&partition.name, Type::TEXT)];
    sql.query_unnamed(&partition.sql(PROJECTIONS), &of_partition)
        .map_err(|source| Error::database("list the projections of Emmett's clients", source))?
        .iter()
        .map(projection)
        .collect()
}

fn projection(row: &Row) -> Result<NeighbourProjection> {
    Ok(NeighbourProjection {
        name: get(row, "name")?,
        version: get(row, "version")?,
        partition: get(row, "partition")?,
        kind: get(row, "kind")?,
        status: get(row, "status")?,
    })
}

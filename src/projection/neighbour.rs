//! The projections that clients of Emmett's have registered and no program of ours has taken over.

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

/// A projection of a client of Emmett's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeighbourProjection {
    /// Its name.
    pub name: String,
    /// The version of its code.
    pub version: i32,
    /// The partition, `emt:default` without tenants.
    pub partition: String,
    /// What kind it is. Emmett does not note whether its appends or a projector keep it.
    pub kind: String,
    /// `active`, `inactive`, or `async_processing` while a projector of a client's runs: no append keeps it meanwhile.
    pub status: String,
}

/// Those of a partition.
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

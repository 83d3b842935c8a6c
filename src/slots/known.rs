//! The known processors and their versions.

use crate::database::{Sql, get, param};
use crate::error::{Error, Result};
use crate::events::{Partition, PartitionSql};
use postgres::types::Type;

/// A processor that has only a start position from a rebuild has no slots yet.
const VERSIONS: PartitionSql = PartitionSql::new(
    "
    SELECT version FROM {schema}.emt_processor_slots WHERE partition = $1 AND processor = $2
     UNION
    SELECT version FROM {schema}.emt_processor_beginnings WHERE partition = $1 AND processor = $2
     ORDER BY version",
);

const NAMES: PartitionSql = PartitionSql::new("
    SELECT name
      FROM (SELECT processor FROM {schema}.emt_processor_slots WHERE partition = $1
             UNION
            SELECT processor FROM {schema}.emt_processor_beginnings WHERE partition = $1) AS known (name)
     ORDER BY name COLLATE \"C\"");

/// Returns the versions of a processor.
pub(crate) fn versions(
    sql: &mut dyn Sql,
    partition: &Partition,
    processor: &str,
) -> Result<Vec<i32>> {
    let parameters = [
        param(&partition.name, Type::TEXT),
        param(&processor, Type::TEXT),
    ];
    sql.query_unnamed(&partition.sql(VERSIONS), &parameters)
        .map_err(|source| Error::database("find a processor", source))?
        .iter()
        .map(|row| Ok(get(row, "version")?))
        .collect()
}

/// Returns the names of all processors.
pub(crate) fn names(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<String>> {
    sql.query_unnamed(&partition.sql(NAMES), &[param(&partition.name, Type::TEXT)])
        .map_err(|source| Error::database("list the processors", source))?
        .iter()
        .map(|row| Ok(get(row, "name")?))
        .collect()
}

//! The epoch of the store. Positions of one epoch cannot be trusted in another. Owns `emt_store_epochs`.

use crate::database::position::{get_u64, to_sql};
use crate::database::{Sql, param};
use crate::error::{Error, Result};
use crate::events::partition::{Partition, PartitionSql};
use postgres::types::Type;

const CURRENT: PartitionSql = PartitionSql::new("SELECT {schema}.emt_store_epoch() AS epoch");

const BEGIN: PartitionSql = PartitionSql::new("SELECT {schema}.emt_store_epoch_begin($1) AS epoch");

/// Returns the current epoch.
pub(crate) fn current(sql: &mut dyn Sql, partition: &Partition) -> Result<u64> {
    let rows = sql
        .query(&partition.sql(CURRENT), &[])
        .map_err(|source| Error::database("read the epoch of the store", source))?;
    Ok(rows.first().map_or(Ok(0), |row| get_u64(row, "epoch"))?)
}

/// Begins an epoch. Positions up to `kept` stay valid in it.
pub(crate) fn begin(sql: &mut dyn Sql, partition: &Partition, kept: u64) -> Result<u64> {
    let kept = to_sql(kept);
    let rows = sql
        .query(&partition.sql(BEGIN), &[param(&kept, Type::INT8)])
        .map_err(|source| Error::database("begin an epoch of the store", source))?;
    Ok(rows.first().map_or(Ok(0), |row| get_u64(row, "epoch"))?)
}

/// Fails if the store's epoch differs from the epoch of a reader of its feed.
pub(super) fn check(sql: &mut dyn Sql, partition: &Partition, expected: u64) -> Result<()> {
    let actual = current(sql, partition)?;
    if actual == expected {
        return Ok(());
    }
    Err(Error::StoreEpoch { expected, actual })
}

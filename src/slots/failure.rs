//! Failed processors: such a processor is stopped in every process until it is started again or reset.

use super::key::ProcessorKey;
use super::lease::Holder;
use crate::database::{ErrorText, Sql, get, param};
use crate::error::Result;
use crate::events::PartitionSql;
use postgres::types::Type;

/// A worker that lost a slot meanwhile, also to a reset, does not fail its new holder. A worker without slots does not fail
/// the processor while another worker holds a slot.
const FAIL: PartitionSql = PartitionSql::new("
    UPDATE {schema}.emt_processor_slots AS slot
       SET status = 'failed', last_error = {schema}.emt_error_text($4), updated_at = now()
     WHERE slot.partition = $1 AND slot.processor = $2 AND slot.version = $3
       AND NOT EXISTS (
               SELECT FROM {schema}.emt_processor_slots AS other
                 LEFT JOIN unnest($6, $7) AS held (slot, epoch) ON held.slot = other.slot
                WHERE other.partition = $1 AND other.processor = $2 AND other.version = $3
                  AND CASE WHEN pg_catalog.cardinality($6) = 0 THEN other.owner <> $5 AND other.expires_at > clock_timestamp()
                           ELSE other.epoch <> held.epoch END)");

const FAILURE: PartitionSql = PartitionSql::new(
    "
    SELECT coalesce(last_error, '') AS last_error FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2 AND version = $3 AND status = 'failed'
     LIMIT 1",
);

impl ProcessorKey<'_> {
    /// Stops the processor in every process, unless other workers now hold this worker's slots.
    pub(crate) fn fail(
        &self,
        sql: &mut dyn Sql,
        holder: Holder<'_>,
        held: &[(i32, i64)],
        error: &str,
    ) -> Result<()> {
        let error = ErrorText::new(error);
        let (slots, epochs): (Vec<i32>, Vec<i64>) = held.iter().copied().unzip();
        sql.execute(
            &self.partition.sql(FAIL),
            &self.parameters([
                param(&error, Type::BYTEA),
                param(&holder.owner, Type::TEXT),
                param(&slots, Type::INT4_ARRAY),
                param(&epochs, Type::INT8_ARRAY),
            ]),
        )
        .map_err(|source| self.refused("record a failure", source))?;
        Ok(())
    }

    /// Returns the error that stopped the processor, in any process.
    pub(crate) fn failure(&self, sql: &mut dyn Sql) -> Result<Option<String>> {
        let rows = sql
            .query(&self.partition.sql(FAILURE), &self.parameters([]))
            .map_err(|source| self.refused("read a failure", source))?;
        Ok(rows.first().map(|row| get(row, "last_error")).transpose()?)
    }
}

//! A processor that has failed: it is stopped everywhere, until it is started anew or reset.

use super::key::ProcessorKey;
use crate::database::{ErrorText, Sql, get, param};
use crate::error::Result;
use crate::events::PartitionSql;
use postgres::types::Type;

const FAIL: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_processor_slots
       SET status = 'failed', last_error = {schema}.emt_error_text($4), updated_at = now()
     WHERE partition = $1 AND processor = $2 AND version = $3",
);

const FAILURE: PartitionSql = PartitionSql::new(
    "
    SELECT coalesce(last_error, '') AS last_error FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2 AND version = $3 AND status = 'failed'
     LIMIT 1",
);

impl ProcessorKey<'_> {
    /// Stops the processor for everybody.
    pub(crate) fn fail(&self, sql: &mut dyn Sql, error: &str) -> Result<()> {
        let error = ErrorText::new(error);
        sql.execute(
            &self.partition.sql(FAIL),
            &self.parameters([param(&error, Type::BYTEA)]),
        )
        .map_err(|source| self.refused("note a failure", source))?;
        Ok(())
    }

    /// Why the processor was stopped, by whatever process.
    pub(crate) fn failure(&self, sql: &mut dyn Sql) -> Result<Option<String>> {
        let rows = sql
            .query(&self.partition.sql(FAILURE), &self.parameters([]))
            .map_err(|source| self.refused("look for a failure", source))?;
        Ok(rows.first().map(|row| get(row, "last_error")).transpose()?)
    }
}

//! Processors that wait for the database to recover. Their holder retries automatically.

use super::key::ProcessorKey;
use crate::database::{ErrorText, Sql, param};
use crate::error::Result;
use crate::events::PartitionSql;
use postgres::types::Type;
use std::time::Duration;

const WAIT: PartitionSql = PartitionSql::new("
    UPDATE {schema}.emt_processor_slots
       SET last_error = {schema}.emt_error_text($5), retry_at = clock_timestamp() + pg_catalog.make_interval(secs => $6)
     WHERE partition = $1 AND processor = $2 AND version = $3 AND owner = $4 AND status = 'active'");

const GO_ON: PartitionSql = PartitionSql::new(
    "
    UPDATE {schema}.emt_processor_slots
       SET last_error = NULL, retry_at = NULL
     WHERE partition = $1 AND processor = $2 AND version = $3 AND owner = $4 AND retry_at IS NOT NULL",
);

impl ProcessorKey<'_> {
    /// Records why an owner's slots wait, and when it retries.
    pub(crate) fn wait(
        &self,
        sql: &mut dyn Sql,
        owner: &str,
        cause: &str,
        pause: Duration,
    ) -> Result<()> {
        let (cause, pause) = (ErrorText::new(cause), pause.as_secs_f64());
        let parameters = self.parameters([
            param(&owner, Type::TEXT),
            param(&cause, Type::BYTEA),
            param(&pause, Type::FLOAT8),
        ]);
        sql.execute(&self.partition.sql(WAIT), &parameters)
            .map_err(|source| self.refused("record that a processor waits", source))?;
        Ok(())
    }

    /// Clears the record when the owner's slots make progress again.
    pub(crate) fn go_on(&self, sql: &mut dyn Sql, owner: &str) -> Result<()> {
        sql.execute(
            &self.partition.sql(GO_ON),
            &self.parameters([param(&owner, Type::TEXT)]),
        )
        .map_err(|source| self.refused("record that a processor continues", source))?;
        Ok(())
    }
}

//! Errors that a worker survived. Its slots keep the last one.

use super::renewal::{LivingWorker, Survived};
use crate::database::{ErrorText, SchemaSql, Sql, param};
use crate::error::{Error, Result};
use postgres::types::Type;
use std::time::SystemTime;

/// Skips locked rows instead of waiting: a worker that commits holds the lock, and the next renewal records the error.
const NOTE: SchemaSql = SchemaSql::new("
    UPDATE {schema}.emt_processor_slots AS slot
       SET survived_error = {schema}.emt_error_text($6), survived_count = $7, survived_at = clock_timestamp() - pg_catalog.make_interval(secs => $8)
      FROM (SELECT slot FROM {schema}.emt_processor_slots
             WHERE partition = $1 AND processor = $2 AND version = $3 AND owner = $4 AND worker = $5
               FOR UPDATE SKIP LOCKED) AS held
     WHERE slot.partition = $1 AND slot.processor = $2 AND slot.version = $3 AND slot.slot = held.slot");

/// An error that a processor survived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SurvivedError {
    /// The error.
    pub error: String,
    /// Time of the error, by the clock of the database server.
    pub at: SystemTime,
    /// Number of errors in a row up to this one, without progress in between.
    pub times: u32,
}

/// Records an error in the slots of a worker. Without slots, it is not recorded.
pub(super) fn note(
    sql: &mut dyn Sql,
    schema: &str,
    worker: &LivingWorker,
    survived: &Survived,
) -> Result<()> {
    let times = i32::try_from(survived.times).unwrap_or(i32::MAX);
    let (error, ago) = (ErrorText::new(&survived.error), survived.ago.as_secs_f64());
    let parameters = [
        param(&worker.partition, Type::TEXT),
        param(&worker.processor, Type::TEXT),
        param(&worker.version, Type::INT4),
        param(&worker.owner, Type::TEXT),
        param(&worker.worker, Type::INT4),
        param(&error, Type::BYTEA),
        param(&times, Type::INT4),
        param(&ago, Type::FLOAT8),
    ];
    sql.execute(&NOTE.in_schema(schema), &parameters)
        .map_err(|source| Error::database("record an error", source))?;
    Ok(())
}

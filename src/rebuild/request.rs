//! Rebuild requests from programs without the projection's code. A running consumer with the code carries them out.

use super::{Rebuild, Target};
use crate::database::position::{get_u32, get_u64, small_to_sql, stored_to_sql};
use crate::database::{ErrorText, Sql, get, param};
use crate::error::{Error, ProjectionError, Result, chain};
use crate::events::BatchLimits;
use crate::events::{Partition, PartitionSql};
use crate::projection::{Projection, check_handled, registry};
use crate::slots::{processor_of, progress};
use crate::store::EventStore;
use postgres::Row;
use postgres::types::Type;
use std::sync::Arc;

/// A second request replaces the first one and its outcome.
const REQUEST: PartitionSql = PartitionSql::new("
    INSERT INTO {schema}.emt_rebuild_requests (partition, name, workers, batch_size, max_batch_bytes, keep_old)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (partition, name) DO UPDATE
        SET workers = EXCLUDED.workers, batch_size = EXCLUDED.batch_size, max_batch_bytes = EXCLUDED.max_batch_bytes,
            keep_old = EXCLUDED.keep_old, error = NULL, requested_at = now()");

const OPEN: PartitionSql = PartitionSql::new(
    "
    SELECT name, workers, batch_size, max_batch_bytes, keep_old FROM {schema}.emt_rebuild_requests
     WHERE partition = $1 AND error IS NULL
     ORDER BY requested_at, name",
);

const DONE: PartitionSql = PartitionSql::new(
    "DELETE FROM {schema}.emt_rebuild_requests WHERE partition = $1 AND name = $2",
);

const FAILED: PartitionSql = PartitionSql::new(
    "UPDATE {schema}.emt_rebuild_requests SET error = {schema}.emt_error_text($3) WHERE partition = $1 AND name = $2",
);

const OUTCOME: PartitionSql = PartitionSql::new(
    "SELECT error FROM {schema}.emt_rebuild_requests WHERE partition = $1 AND name = $2",
);

/// A requested rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RebuildRequest {
    pub(crate) name: String,
    workers: u32,
    limits: BatchLimits,
    keep_old: bool,
}

/// Outcome of a rebuild request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestedRebuild {
    /// No request exists, or it was carried out.
    Done,
    /// No consumer has carried it out yet.
    Waiting,
    /// The rebuild failed with this error. The live read model is unchanged.
    Failed(String),
}

impl RebuildRequest {
    /// Lists the open requests of a partition.
    pub(crate) fn open(sql: &mut dyn Sql, partition: &Partition) -> Result<Vec<Self>> {
        let rows = sql
            .query(&partition.sql(OPEN), &[param(&partition.name, Type::TEXT)])
            .map_err(|source| Error::in_partition("read requests", &partition.name, source))?;
        rows.iter()
            .map(|row| {
                Ok(Self {
                    name: get(row, "name")?,
                    workers: get_u32(row, "workers")?,
                    limits: BatchLimits {
                        messages: get_size(row, "batch_size")?,
                        bytes: get_size(row, "max_batch_bytes")?,
                    },
                    keep_old: get(row, "keep_old")?,
                })
            })
            .collect()
    }

    /// Carries out the request, with the code of a consumer's projection or of an inline projection of the store.
    /// Returns false if another program carries it out.
    pub(crate) fn carry_out(
        &self,
        store: &EventStore,
        asynchronous: Option<Arc<dyn Projection>>,
    ) -> Result<bool> {
        let target = match asynchronous {
            Some(projection) => Target::Asynchronous(projection),
            None => Target::Inline(self.name.clone()),
        };
        let mut rebuild = Rebuild::new(store, target)
            .workers(self.workers)
            .batch_size(self.limits.messages)
            .max_batch_bytes(self.limits.bytes);
        if self.keep_old {
            rebuild = rebuild.keep_old();
        }
        match rebuild.run() {
            Ok(_) => self.note(store, None).map(|()| true),
            Err(Error::Projection(ProjectionError::RebuildRunning { .. })) => Ok(false),
            // The consumer retries it.
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => {
                self.note(store, Some(&chain(&error)))?;
                Err(error)
            }
        }
    }

    fn note(&self, store: &EventStore, error: Option<&str>) -> Result<()> {
        let partition = store.partition();
        let (name, key) = (&self.name, param(&partition.name, Type::TEXT));
        let error = error.map(ErrorText::new);
        store
            .connections()
            .run(true, |sql| {
                let (key, name) = (key.clone(), param(name, Type::TEXT));
                let noted = match &error {
                    None => sql.execute(&partition.sql(DONE), &[key, name]),
                    Some(error) => sql.execute(
                        &partition.sql(FAILED),
                        &[key, name, param(error, Type::BYTEA)],
                    ),
                };
                noted.map_err(|source| Error::database("note the outcome of a rebuild", source))
            })
            .map(drop)
    }
}

/// Reads a size that a program on another machine may have stored.
fn get_size(row: &Row, column: &str) -> Result<usize> {
    let size = get_u64(row, column)?;
    let expected = "a size that this machine can address";
    size.try_into()
        .map_err(|_| Error::stored(column, size.to_string(), expected))
}

impl Rebuild<'_> {
    /// Requests the rebuild from a running consumer, in any process, that has the projection as a projector or inline.
    ///
    /// Returns whether such a consumer is running now. Otherwise the request waits until one is started.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// if !store.rebuild("cart_analytics").workers(2).request()? {
    ///     println!("a consumer will rebuild it when it is started");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::InvalidInput`] when no projection of the name is registered.
    /// - [`Error::InvalidInput`] when a number of workers, messages or bytes is 0 or too large to store.
    /// - [`ProcessorError::Ahead`](crate::error::ProcessorError::Ahead) when the projection's processor is ahead of the
    ///   sequence.
    pub fn request(self) -> Result<bool> {
        self.check_sizes()?;
        let name = match &self.target {
            Target::Inline(name) => name.clone(),
            Target::Asynchronous(projection) => {
                check_handled(projection.as_ref())?;
                projection.name().to_owned()
            }
        };
        let partition = self.store.partition();
        let workers = small_to_sql("the number of workers", self.workers)?;
        let batch_size = stored_to_sql("the batch size", self.limits.messages as u64)?;
        let max_batch_bytes = stored_to_sql(
            "the maximum number of bytes of a batch",
            self.limits.bytes as u64,
        )?;
        let keep_old = self.keep_old;
        self.store.connections().run(true, |sql| {
            if !registry::is_registered(sql, partition, &name)? {
                return Err(Error::invalid(
                    format!("projection \"{name}\""),
                    "is not registered in this store: check the name with `projections list`",
                ));
            }
            let processor = processor_of(sql, partition, &name)?;
            let processor = processor.as_deref().unwrap_or(&name);
            progress::refuse_ahead(sql, partition, processor, None)?;
            sql.execute(
                &partition.sql(REQUEST),
                &[
                    param(&partition.name, Type::TEXT),
                    param(&name, Type::TEXT),
                    param(&workers, Type::INT4),
                    param(&batch_size, Type::INT8),
                    param(&max_batch_bytes, Type::INT8),
                    param(&keep_old, Type::BOOL),
                ],
            )
            .map_err(|source| Error::in_partition("request a rebuild", &partition.name, source))?;
            progress::is_running(sql, partition, processor)
        })
    }
}

impl EventStore {
    /// Returns the outcome of a [request](Rebuild::request).
    ///
    /// # Errors
    /// When the query fails.
    pub fn requested_rebuild(&self, projection: &str) -> Result<RequestedRebuild> {
        let partition = self.partition();
        let rows = self.connections().run(true, |sql| {
            sql.query(
                &partition.sql(OUTCOME),
                &[
                    param(&partition.name, Type::TEXT),
                    param(&projection, Type::TEXT),
                ],
            )
            .map_err(|source| Error::in_partition("read a request", &partition.name, source))
        })?;
        Ok(match rows.first() {
            None => RequestedRebuild::Done,
            Some(row) => match get::<Option<String>>(row, "error")? {
                None => RequestedRebuild::Waiting,
                Some(error) => RequestedRebuild::Failed(error),
            },
        })
    }
}

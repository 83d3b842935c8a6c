//! Processors for operators: positions, holders, parked messages, and requests to change them.
//!
//! The methods use the tables only. The process that runs a processor finds the requests there.

mod parked;
mod reset;
mod status;

pub use parked::ParkedDetail;

use crate::database::position::small_to_sql;
use crate::database::{Connections, PooledTransaction, Sql, check_text, param};
use crate::error::{Error, ProcessorError, Result};
use crate::events::{Partition, PartitionSql};
use crate::slots::{self, ProcessorKey};
use crate::store::EventStore;
use postgres::types::Type;
use std::sync::Arc;

/// Fails for an unknown partition, whose processors would all be unknown.
const CHECK_PARTITION: PartitionSql = PartitionSql::new("SELECT {schema}.emt_partition_check($1)");

/// A stopped process may hold row locks in an open transaction. An operator's command does not wait for them for ever.
const WAIT_BRIEFLY: &str = "SET LOCAL lock_timeout = '10s'";

/// The processors of a store, or of this tenant: projectors and reactors, running or not.
///
/// Requests are stored in the database and can be made from any process. The process that runs the processor carries
/// them out.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let database = emmett_postgresql::testing::database()?;
/// # let store = emmett_postgresql::EventStore::open(database.url())?;
/// for processor in store.processors().list()? {
///     println!("{}: {}, {} events to go", processor.name, processor.state, processor.lag);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Processors {
    connections: Connections,
    partition: Arc<Partition>,
    version: Option<u32>,
}

impl std::fmt::Debug for Processors {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Processors")
            .field("schema", self.partition.schema())
            .field("partition", &self.partition.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Processors {
    pub(crate) fn new(connections: Connections, partition: Arc<Partition>) -> Self {
        Self {
            connections,
            partition,
            version: None,
        }
    }

    /// Selects processors of this version only. [`replay`](Processors::replay), [`discard`](Processors::discard),
    /// [`reset`](Processors::reset) and [`forget`](Processors::forget) need it if a name has several versions.
    /// Defaults to all versions.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// store.processors().version(1).forget("cart-summaries")?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = Some(version);
        self
    }

    fn version_parameter(&self) -> Result<Option<i32>> {
        let version = self.version;
        Ok(version
            .map(|version| small_to_sql("the version", version))
            .transpose()?)
    }

    /// Fails if there is no processor of this name.
    fn check_known(&self, sql: &mut dyn Sql, name: &str) -> Result<()> {
        self.known_versions(sql, name).map(drop)
    }

    /// Returns the version that a change applies to.
    fn one_version(&self, sql: &mut dyn Sql, name: &str) -> Result<i32> {
        match self.known_versions(sql, name)?[..] {
            [version] => Ok(version),
            ref versions => Err(Error::invalid(
                format!("processor \"{name}\""),
                format!(
                    "has the versions {}: choose one with `Processors::version` or `--of-version`",
                    join(versions)
                ),
            )),
        }
    }

    fn known_versions(&self, sql: &mut dyn Sql, name: &str) -> Result<Vec<i32>> {
        check_text("the processor's name", name)?;
        self.check_partition(sql)?;
        let versions = slots::versions(sql, &self.partition, name)?;
        if versions.is_empty() {
            return Err(Error::Processor(ProcessorError::Unknown {
                processor: name.to_owned(),
                known: slots::names(sql, &self.partition)?,
            }));
        }
        match self.version_parameter()? {
            None => Ok(versions),
            Some(wanted) if versions.contains(&wanted) => Ok(vec![wanted]),
            Some(wanted) => Err(Error::invalid(
                format!("processor \"{name}\""),
                format!("has no version {wanted}, only {}", join(&versions)),
            )),
        }
    }

    fn check_partition(&self, sql: &mut dyn Sql) -> Result<()> {
        let partition = &self.partition;
        sql.query(
            &partition.sql(CHECK_PARTITION),
            &[param(&partition.name, Type::TEXT)],
        )
        .map_err(|source| Error::in_partition("find a tenant", &partition.name, source))?;
        Ok(())
    }

    /// Changes one processor in a transaction with a short lock timeout.
    fn change<T>(
        &self,
        name: &str,
        run: impl FnOnce(&mut dyn Sql, ProcessorKey<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut transaction = PooledTransaction::begin(&self.connections)?;
        let sql = transaction.sql();
        sql.batch(WAIT_BRIEFLY)
            .map_err(|source| Error::database("limit the wait for locks", source))?;
        let key = ProcessorKey {
            partition: &self.partition,
            name,
            version: self.one_version(sql, name)?,
        };
        let done = run(sql, key)?;
        transaction.commit()?;
        Ok(done)
    }
}

fn join(versions: &[i32]) -> String {
    let versions: Vec<String> = versions.iter().map(i32::to_string).collect();
    versions.join(", ")
}

impl EventStore {
    /// Returns the processors of the store, or of this tenant. Operators use them to show progress, to handle parked
    /// messages, and to reset processors.
    pub fn processors(&self) -> Processors {
        Processors::new(self.connections().clone(), Arc::clone(self.partition()))
    }
}

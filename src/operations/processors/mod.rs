//! Processors as an operator sees them: how far they are, who holds them, what they parked, and what is to be done with
//! it. Works on the tables of the slots alone; the process that runs a processor finds it there.

mod parked;
mod reset;
mod status;

pub use parked::ParkedDetail;

use crate::database::{Connections, PooledTransaction, Sql, check_text, param};
use crate::error::{Error, ProcessorError, Result};
use crate::events::{Partition, PartitionSql};
use crate::slots::{self, ProcessorKey};
use crate::store::EventStore;
use postgres::types::Type;
use std::sync::Arc;

/// Fails for a partition that does not exist; else every processor of an unknown tenant would be unknown.
const CHECK_PARTITION: PartitionSql = PartitionSql::new("SELECT {schema}.emt_partition_check($1)");

/// Whoever was stopped in the middle of a transaction keeps its row locks; an operator's command does not wait for ever.
const WAIT_BRIEFLY: &str = "SET LOCAL lock_timeout = '10s'";

/// The processors of a store (of this tenant): projectors and reactors, running or not.
///
/// What is asked for here is left in the database, where the process that runs the processor finds it; so this works from
/// any process, and the process that runs the processor carries it out.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let database = emmett_postgresql::testing::database()?;
/// # let store = emmett_postgresql::EventStore::open(database.url())?;
/// for processor in store.processors().list()? {
///     println!("{} is {} events behind, {}", processor.name, processor.lag, processor.state);
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

    /// Only processors of this version. Needed to [`replay`](Processors::replay), [`discard`](Processors::discard),
    /// [`reset`](Processors::reset) and [`forget`](Processors::forget) where a name has several. Defaults to all.
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

    fn version_parameter(&self) -> Option<i32> {
        self.version
            .map(|version| i32::try_from(version).unwrap_or(i32::MAX))
    }

    /// Fails for a name that no processor has.
    fn check_known(&self, sql: &mut dyn Sql, name: &str) -> Result<()> {
        self.known_versions(sql, name).map(drop)
    }

    /// The version that a change is for.
    fn one_version(&self, sql: &mut dyn Sql, name: &str) -> Result<i32> {
        match self.known_versions(sql, name)?[..] {
            [version] => Ok(version),
            ref versions => Err(Error::invalid(
                format!("processor \"{name}\""),
                format!("has the versions {}; say which", join(versions)),
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
        match self.version_parameter() {
            None => Ok(versions),
            Some(wanted) if versions.contains(&wanted) => Ok(vec![wanted]),
            Some(wanted) => Err(Error::invalid(
                format!("processor \"{name}\""),
                format!("has no version {wanted}, but {}", join(&versions)),
            )),
        }
    }

    fn check_partition(&self, sql: &mut dyn Sql) -> Result<()> {
        let partition = &self.partition;
        sql.query(
            &partition.sql(CHECK_PARTITION),
            &[param(&partition.name, Type::TEXT)],
        )
        .map_err(|source| Error::in_partition("look for a tenant", &partition.name, source))?;
        Ok(())
    }

    /// Runs a change of one processor in a transaction that does not wait long for locks.
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
    /// The processors of the store (of this tenant): how far they are, what they parked, and how to set them back.
    pub fn processors(&self) -> Processors {
        Processors::new(self.connections().clone(), Arc::clone(self.partition()))
    }
}

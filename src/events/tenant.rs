//! Tenants: adding, listing and removing partitions. Owns the statements on `emt_partitions`.

use crate::database::{
    Connections, DEFAULT_PARTITION, PooledTransaction, SchemaSql, Sql, get, param, scalar,
};
use crate::error::{Error, Result};
use crate::events::partition::{Partition, PartitionSql};
use postgres::types::Type;
use std::sync::Arc;
use std::time::SystemTime;

const ADD: SchemaSql = SchemaSql::new("SELECT {schema}.emt_partition_create($1)");

const LIST: SchemaSql = SchemaSql::new("
    SELECT partition, created_at FROM {schema}.emt_partitions WHERE partition <> $1 ORDER BY partition COLLATE \"C\"");

const REMOVE: SchemaSql = SchemaSql::new("SELECT {schema}.emt_partition_drop($1)");

const COUNT: PartitionSql = PartitionSql::new(
    "SELECT (SELECT count(*) FROM {streams}) AS streams, (SELECT count(*) FROM {messages}) AS messages",
);

/// A tenant of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tenant {
    /// Name of the tenant.
    pub name: String,
    /// Time at which it was added.
    pub created_at: SystemTime,
}

/// The tenants of a store. [`EventStore::tenant`](crate::EventStore::tenant) returns a store for one of them.
///
/// Each tenant has tables of its own. Adding or removing a tenant does not wait for the open appends and reads of others.
///
/// ```no_run
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// # let store = emmett_postgresql::EventStore::builder("postgresql://localhost/shop").open()?;
/// store.tenants().add("acme")?;
/// let acme = store.tenant("acme")?;
/// assert_eq!(store.tenants().list()?[0].name, "acme");
/// let removal = store.tenants().remove("acme")?;
/// println!("this would delete {} messages", removal.messages);
/// removal.with_all_data()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tenants {
    connections: Connections,
    schema: Arc<str>,
    /// Discards everything that the store holds in memory for a tenant.
    forget: Arc<Forget>,
}

/// Discards the in-memory state of a removed tenant.
pub(crate) type Forget = dyn Fn(&str) + Send + Sync;

impl std::fmt::Debug for Tenants {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tenants")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Tenants {
    pub(crate) fn new(connections: Connections, schema: Arc<str>, forget: Arc<Forget>) -> Self {
        Self {
            connections,
            schema,
            forget,
        }
    }

    /// Adds a tenant. Returns false if it already exists.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the name cannot be part of a table's name, or gives the table names of another tenant.
    pub fn add(&self, name: &str) -> Result<bool> {
        Partition::new(&self.schema, name)?;
        self.call("add a tenant", &ADD.in_schema(&self.schema), name)
    }

    /// Returns all tenants, sorted by name, without the default partition.
    ///
    /// # Errors
    /// If the database cannot be queried.
    pub fn list(&self) -> Result<Vec<Tenant>> {
        self.connections.run(true, |sql| {
            let rows = sql
                .query(
                    &LIST.in_schema(&self.schema),
                    &[param(&DEFAULT_PARTITION, Type::TEXT)],
                )
                .map_err(|source| Error::database("list tenants", source))?;
            rows.iter()
                .map(|row| {
                    Ok(Tenant {
                        name: get(row, "partition")?,
                        created_at: get(row, "created_at")?,
                    })
                })
                .collect()
        })
    }

    /// Counts what removing a tenant would delete. Nothing is deleted until [`with_all_data`](TenantRemoval::with_all_data)
    /// is called.
    ///
    /// # Errors
    /// [`Error::UnknownTenant`] if no tenant has this name; [`Error::InvalidInput`] for the default partition.
    pub fn remove(&self, name: &str) -> Result<TenantRemoval> {
        if name == DEFAULT_PARTITION {
            return Err(Error::invalid(
                format!("tenant \"{name}\""),
                "is the store itself and cannot be removed",
            ));
        }
        let count = Partition::new(&self.schema, name)?.sql(COUNT);
        let (streams, messages) = self.connections_of(name).run(true, |sql| {
            let rows = sql
                .query(&count, &[])
                .map_err(|source| Error::in_partition("read a tenant", name, source))?;
            let counts = |column| rows.first().map_or(Ok(0), |row| get::<i64>(row, column));
            Ok::<_, Error>((counts("streams")?, counts("messages")?))
        })?;
        if !self.list()?.iter().any(|tenant| tenant.name == name) {
            return Err(Error::UnknownTenant {
                tenant: name.to_owned(),
            });
        }
        Ok(TenantRemoval {
            streams: crate::database::position::from_sql(streams)?,
            messages: crate::database::position::from_sql(messages)?,
            name: name.to_owned(),
            tenants: self.clone(),
        })
    }

    fn call(&self, doing: &'static str, text: &str, name: &str) -> Result<bool> {
        let mut transaction = PooledTransaction::begin(&self.connections_of(name))?;
        let changed = call(transaction.sql(), doing, text, name)?;
        transaction.commit()?;
        Ok(changed)
    }

    fn connections_of(&self, name: &str) -> Connections {
        self.connections.of_partition(&name.into())
    }
}

fn call(sql: &mut dyn Sql, doing: &'static str, text: &str, name: &str) -> Result<bool> {
    let rows = sql
        .query(text, &[param(&name, Type::TEXT)])
        .map_err(|source| refused(doing, name, source))?;
    Ok(scalar(&rows)?.unwrap_or_default())
}

fn refused(doing: &'static str, name: &str, source: postgres::Error) -> Error {
    match source.as_db_error() {
        Some(error) if error.code().code() == "SE004" => {
            Error::invalid(format!("tenant \"{name}\""), error.message().to_owned())
        }
        _ => Error::database(doing, source),
    }
}

/// A pending removal of a tenant.
#[derive(Debug)]
#[must_use = "nothing is removed until with_all_data is called"]
#[non_exhaustive]
pub struct TenantRemoval {
    /// Number of its streams.
    pub streams: u64,
    /// Number of its messages.
    pub messages: u64,
    name: String,
    tenants: Tenants,
}

impl TenantRemoval {
    /// Removes the tenant with its streams, checkpoints, read models and documents. Waits for the tenant's own open
    /// transactions; other tenants' transactions continue. Frees the tenant's state in the memory of this process and its
    /// connections. Other processes free theirs when their connections close.
    ///
    /// # Errors
    /// [`Error::UnknownTenant`] if another process has removed it meanwhile.
    pub fn with_all_data(self) -> Result<()> {
        let Self { name, tenants, .. } = self;
        if !tenants.call("remove a tenant", &REMOVE.in_schema(&tenants.schema), &name)? {
            return Err(Error::UnknownTenant { tenant: name });
        }
        tenants.connections.removed_partition(&name);
        (tenants.forget)(&name);
        Ok(())
    }
}

//! Setting up a client.

use super::client::PongoClient;
use super::definition::{CollectionDefinition, CollectionDefinitions};
use crate::database::schema::{self, AutoMigration, Schema, SchemaPart};
use crate::database::{ConnectionSource, PoolOptions, refuse_async_context};
use crate::error::Result;
use postgres::Client;
use r2d2::ManageConnection;
use std::sync::Arc;
use std::time::Duration;

/// Sets up a [`PongoClient`].
///
/// ```no_run
/// use emmett_postgresql::pongo::PongoClient;
/// use std::time::Duration;
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// let client = PongoClient::builder("postgresql://user:password@localhost:5432/mydb")
///     .schema("shop")
///     .pool_size(20)
///     .idle_timeout(Duration::from_secs(30))
///     .connect()?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct PongoClientBuilder {
    source: ConnectionSource,
    schema: String,
    auto_migration: AutoMigration,
    collections: CollectionDefinitions,
    pool: PoolOptions,
}

impl PongoClient {
    /// A client with the defaults. See [`PongoClientBuilder::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect(connection_string: &str) -> Result<Self> {
        Self::builder(connection_string).connect()
    }

    /// Begins to set up a client for the database that the connection string names, as a URL or in the `key=value` form.
    pub fn builder(connection_string: &str) -> PongoClientBuilder {
        PongoClientBuilder::new(connection_string)
    }
}

impl std::fmt::Debug for PongoClientBuilder {
    /// Without the connection string, which may hold a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PongoClientBuilder")
            .field("schema", &self.schema)
            .field("auto_migration", &self.auto_migration)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl PongoClientBuilder {
    pub(super) fn new(connection_string: &str) -> Self {
        Self::from_source(ConnectionSource::ConnectionString(
            connection_string.to_owned(),
        ))
    }

    /// Sets up a client on a pool of the caller's, any r2d2 pool of `postgres` clients.
    ///
    /// Such connections have no place for prepared statements, so every statement is planned anew, still in one round trip.
    /// The options of the builder's own pool do not apply.
    pub fn with_pool<M: ManageConnection<Connection = Client>>(pool: r2d2::Pool<M>) -> Self {
        Self::from_source(ConnectionSource::pool(pool))
    }

    fn from_source(source: ConnectionSource) -> Self {
        Self {
            source,
            schema: "public".to_owned(),
            auto_migration: AutoMigration::default(),
            collections: CollectionDefinitions::default(),
            pool: PoolOptions::default(),
        }
    }

    /// Declares a collection with its indexes, as a part of the migration. Defaults to none.
    pub fn collection(mut self, definition: CollectionDefinition) -> Self {
        self.collections.add(definition);
        self
    }

    /// The PostgreSQL schema that the tables are in. Defaults to `public`.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Whether the client may change the schema: create what is missing when it connects, and collections when they are
    /// first used. Defaults to [`AutoMigration::CreateOrUpdate`].
    pub fn auto_migration(mut self, auto_migration: AutoMigration) -> Self {
        self.auto_migration = auto_migration;
        self
    }

    /// The largest number of connections. They are opened when they are needed. Defaults to 10.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool.size = connections;
        self
    }

    /// Closes a connection that was not used for this long. Defaults to ten minutes.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.pool.idle_timeout = Some(timeout);
        self
    }

    /// How long an operation waits for a free connection. Defaults to 30 seconds.
    pub fn connection_timeout(mut self, timeout: Duration) -> Self {
        self.pool.connection_timeout = timeout;
        self
    }

    /// Whether connections keep prepared statements. Say `false` behind a `PgBouncer` older than 1.21 in transaction mode.
    /// Defaults to `true`.
    pub fn prepared_statements(mut self, prepare: bool) -> Self {
        self.pool.prepared_statements = prepare;
        self
    }

    /// Connects, and migrates the schema unless told not to.
    ///
    /// # Errors
    /// [`Error::ConnectionString`](crate::Error::ConnectionString), [`Error::Connect`](crate::Error::Connect),
    /// [`Error::Schema`](crate::Error::Schema), [`Error::InvalidInput`](crate::Error::InvalidInput) when an option makes no
    /// sense.
    pub fn connect(self) -> Result<PongoClient> {
        let auto_migration = self.auto_migration;
        let client = self.connect_unchecked()?;
        client.schema().prepare(auto_migration)?;
        Ok(client)
    }

    /// Connects without a look at the schema, to migrate it later by hand.
    ///
    /// # Errors
    /// Like [`connect`](PongoClientBuilder::connect), but for the schema.
    pub fn connect_unchecked(self) -> Result<PongoClient> {
        refuse_async_context()?;
        schema::check_name(&self.schema)?;
        self.collections.check()?;
        let connections = self.source.open(&self.pool)?;
        let schema = Schema::new(
            connections.clone(),
            self.schema.into(),
            SchemaPart::Documents,
            Arc::new(self.collections),
        );
        Ok(PongoClient::new(
            connections,
            schema,
            self.auto_migration == AutoMigration::CreateOrUpdate,
        ))
    }
}

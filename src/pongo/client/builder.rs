//! Setting up a client.

use super::PongoClient;
use crate::database::{
    AutoMigration, ConnectionOptions, ConnectionSource, Schema, SchemaPart, refuse_async_context,
    schema,
};
use crate::pongo::collection::{CollectionDefinition, CollectionDefinitions};
use crate::pongo::error::Result;
use postgres::Client;
use r2d2::ManageConnection;
use std::sync::Arc;

/// Sets up a [`PongoClient`].
///
/// ```no_run
/// use emmett_postgresql::ConnectionOptions;
/// use emmett_postgresql::pongo::PongoClient;
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// let client = PongoClient::builder("postgresql://user:password@localhost:5432/mydb")
///     .schema("shop")
///     .connection_options(ConnectionOptions::new().pool_size(20))
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
    connections: ConnectionOptions,
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
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl PongoClientBuilder {
    pub(crate) fn new(connection_string: &str) -> Self {
        Self::from_source(ConnectionSource::ConnectionString(
            connection_string.to_owned(),
        ))
    }

    /// Sets up a client on a pool of the caller's, any r2d2 pool of `postgres` clients.
    ///
    /// Such connections have no place for prepared statements, so every statement is planned anew, still in one round trip.
    /// The [connection options](Self::connection_options) do not apply.
    pub fn with_pool<M: ManageConnection<Connection = Client>>(pool: r2d2::Pool<M>) -> Self {
        Self::from_source(ConnectionSource::pool(pool))
    }

    fn from_source(source: ConnectionSource) -> Self {
        Self {
            source,
            schema: "public".to_owned(),
            auto_migration: AutoMigration::default(),
            collections: CollectionDefinitions::default(),
            connections: ConnectionOptions::new(),
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

    /// The size of the pool, its timeouts, and whether statements are prepared. They do not apply to a pool of the caller's.
    /// Defaults to [`ConnectionOptions::new`].
    pub fn connection_options(mut self, options: ConnectionOptions) -> Self {
        self.connections = options;
        self
    }

    /// Connects, and migrates the schema unless told not to.
    ///
    /// # Errors
    /// [`DatabaseError::ConnectionString`](crate::database::DatabaseError::ConnectionString),
    /// [`DatabaseError::Connect`](crate::database::DatabaseError::Connect), [`DatabaseError::Schema`](crate::database::DatabaseError::Schema),
    /// [`Error::InvalidInput`](crate::pongo::Error::InvalidInput) when an option makes no sense.
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
        let connections = self.source.open(&self.connections)?;
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

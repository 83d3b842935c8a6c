//! The builder of a client.

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

/// Builder of a [`PongoClient`].
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
    /// Connects with the default settings.
    ///
    /// # Errors
    /// Those of [`PongoClientBuilder::connect`].
    pub fn connect(connection_string: &str) -> Result<Self> {
        Self::builder(connection_string).connect()
    }

    /// Returns a builder for the database of the connection string, which is a URL or in the `key=value` form.
    pub fn builder(connection_string: &str) -> PongoClientBuilder {
        PongoClientBuilder::new(connection_string)
    }
}

impl std::fmt::Debug for PongoClientBuilder {
    /// Omits the connection string, because it may contain a password.
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

    /// Returns a builder for a client on an existing pool: any r2d2 pool of `postgres` clients.
    ///
    /// The connections of such a pool cannot cache prepared statements. Every statement is planned anew, still in one round
    /// trip. The [connection options](Self::connection_options) do not apply.
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

    /// Adds a collection with its indexes to the migration. Defaults to none.
    pub fn collection(mut self, definition: CollectionDefinition) -> Self {
        self.collections.add(definition);
        self
    }

    /// PostgreSQL schema of the tables. Defaults to `public`.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Whether the client may change the schema: create missing objects on connect, and collections on their first use.
    /// Defaults to [`AutoMigration::CreateOrUpdate`].
    pub fn auto_migration(mut self, auto_migration: AutoMigration) -> Self {
        self.auto_migration = auto_migration;
        self
    }

    /// Pool size, timeouts, and whether statements are prepared. The options do not apply to a pool passed to
    /// [`with_pool`](Self::with_pool). Defaults to [`ConnectionOptions::new`].
    pub fn connection_options(mut self, options: ConnectionOptions) -> Self {
        self.connections = options;
        self
    }

    /// Connects, and migrates the schema unless migration is turned off.
    ///
    /// # Errors
    /// - [`DatabaseError::ConnectionString`](crate::database::DatabaseError::ConnectionString): the connection string is
    ///   invalid.
    /// - [`DatabaseError::Connect`](crate::database::DatabaseError::Connect): no connection could be opened.
    /// - [`DatabaseError::Schema`](crate::database::DatabaseError::Schema): the schema does not fit, or its migration failed.
    /// - [`Error::InvalidInput`](crate::pongo::Error::InvalidInput): an option is invalid.
    pub fn connect(self) -> Result<PongoClient> {
        let auto_migration = self.auto_migration;
        let client = self.connect_unchecked()?;
        client.schema().prepare(auto_migration)?;
        Ok(client)
    }

    /// Connects without checking the schema, so that it can be migrated manually later.
    ///
    /// # Errors
    /// Those of [`connect`](PongoClientBuilder::connect), except the schema's.
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

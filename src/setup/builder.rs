//! Setting up an event store.

use crate::database::{
    AutoMigration, ConnectionOptions, ConnectionSource, refuse_async_context, schema,
};
use crate::error::Result;
use crate::pongo::{CollectionDefinition, CollectionDefinitions};
use crate::projection::{InlineProjections, Projection};
use crate::rebuild::{Activation, OnHistory, RebuildProgress};
use crate::store::EventStore;
use postgres::Client;
use r2d2::ManageConnection;
use std::sync::Arc;

/// Builder of an [`EventStore`].
///
/// ```no_run
/// use emmett_postgresql::{ConnectionOptions, EventStore};
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// let store = EventStore::builder("postgresql://user:password@localhost:5432/mydb")
///     .connection_options(ConnectionOptions::new().pool_size(20))
///     .open()?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct EventStoreBuilder {
    source: ConnectionSource,
    schema: String,
    auto_migration: AutoMigration,
    projections: Vec<Arc<dyn Projection>>,
    collections: CollectionDefinitions,
    connections: ConnectionOptions,
    notifications: bool,
    activation: Activation,
}

impl EventStore {
    /// Opens a store with the default options. See [`EventStoreBuilder::open`].
    ///
    /// # Errors
    /// The errors of [`EventStoreBuilder::open`].
    pub fn open(connection_string: &str) -> Result<Self> {
        Self::builder(connection_string).open()
    }

    /// Returns a builder for a store in the database of the connection string, a URL or a `key=value` list.
    pub fn builder(connection_string: &str) -> EventStoreBuilder {
        EventStoreBuilder::new(connection_string)
    }
}

impl std::fmt::Debug for EventStoreBuilder {
    /// Omits the connection string, which may contain a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EventStoreBuilder")
            .field("schema", &self.schema)
            .field("auto_migration", &self.auto_migration)
            .field("connections", &self.connections)
            .field("notifications", &self.notifications)
            .finish_non_exhaustive()
    }
}

impl EventStoreBuilder {
    pub(crate) fn new(connection_string: &str) -> Self {
        Self::from_source(ConnectionSource::ConnectionString(
            connection_string.to_owned(),
        ))
    }

    /// Returns a builder for a store on the caller's pool: any r2d2 pool of `postgres` clients.
    ///
    /// Such connections cannot keep prepared statements, so every statement is planned again, still in one round trip. The
    /// [connection options](Self::connection_options) do not apply. For each tenant that a connection has used, the server
    /// keeps up to half a megabyte until the connection closes. With many tenants, give the pool a short
    /// [`max_lifetime`](r2d2::Builder::max_lifetime).
    ///
    /// ```no_run
    /// use emmett_postgresql::{EventStoreBuilder, postgres::NoTls, r2d2, r2d2_postgres};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = "postgresql://localhost/shop".parse()?;
    /// let manager = r2d2_postgres::PostgresConnectionManager::new(server, NoTls);
    /// let store = EventStoreBuilder::with_pool(r2d2::Pool::new(manager)?).open()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_pool<M: ManageConnection<Connection = Client>>(pool: r2d2::Pool<M>) -> Self {
        Self::from_source(ConnectionSource::pool(pool))
    }

    fn from_source(source: ConnectionSource) -> Self {
        Self {
            source,
            schema: "public".to_owned(),
            auto_migration: AutoMigration::default(),
            projections: Vec::new(),
            collections: CollectionDefinitions::default(),
            notifications: true,
            connections: ConnectionOptions::new(),
            activation: Activation {
                on_history: OnHistory::default(),
                report: Arc::new(|_, _| ()),
            },
        }
    }

    /// Runs a projection in the transaction of every append. Projections run in the order in which they are added. Defaults
    /// to none.
    pub fn inline_projection(mut self, projection: impl Projection) -> Self {
        self.projections.push(Arc::new(projection));
        self
    }

    /// Handling of inline projections that have to be built from events already stored. It applies to opening the store and
    /// to the first use of a tenant. Defaults to [`OnHistory::Build`].
    ///
    /// ```no_run
    /// use emmett_postgresql::{EventStore, rebuild::OnHistory};
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// let store = EventStore::builder("postgresql://localhost/shop")
    ///     .on_history(OnHistory::BuildInBackground)
    ///     .open()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_history(mut self, on_history: OnHistory) -> Self {
        self.activation.on_history = on_history;
        self
    }

    /// Callback after every batch of such a build, with the projection's name. Defaults to none.
    pub fn on_build_progress(
        mut self,
        report: impl Fn(&str, RebuildProgress) + Send + Sync + 'static,
    ) -> Self {
        self.activation.report = Arc::new(report);
        self
    }

    /// Declares a collection with its indexes as a part of the migration. It can be a collection of your own, or the read
    /// model of a [`DocumentProjection`](crate::DocumentProjection). Defaults to none.
    pub fn collection(mut self, definition: CollectionDefinition) -> Self {
        self.collections.add(definition);
        self
    }

    /// PostgreSQL schema of the tables. Defaults to `public`.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Whether opening the store may change the schema. Defaults to [`AutoMigration::CreateOrUpdate`].
    pub fn auto_migration(mut self, auto_migration: AutoMigration) -> Self {
        self.auto_migration = auto_migration;
        self
    }

    /// Pool size, timeouts, and whether statements are prepared. They do not apply to the caller's pool. Defaults to
    /// [`ConnectionOptions::new`].
    pub fn connection_options(mut self, options: ConnectionOptions) -> Self {
        self.connections = options;
        self
    }

    /// Whether processes wake each other's consumers with PostgreSQL's `NOTIFY`. A background thread sends it after the
    /// commit, only while a consumer is running in some process. Dropping the last clone of the store waits up to a second
    /// for pending notifications. Consumers keep one connection beside the pool to receive it; on the caller's pool they
    /// only poll.
    ///
    /// Set it to `false` behind `PgBouncer` in transaction mode, which does not deliver notifications; consumers then poll.
    /// Consumers of the same process are always woken. Defaults to `true`.
    pub fn notifications(mut self, notify: bool) -> Self {
        self.notifications = notify;
        self
    }

    /// Opens the store: connects, migrates the schema unless configured otherwise, and registers and activates the
    /// projections.
    ///
    /// # Errors
    /// - [`DatabaseError::ConnectionString`](crate::database::DatabaseError::ConnectionString) if the connection string is
    ///   not valid.
    /// - [`DatabaseError::Connect`](crate::database::DatabaseError::Connect) if the server cannot be reached or refuses.
    /// - [`DatabaseError::Schema`](crate::database::DatabaseError::Schema) if the schema does not match this library.
    /// - [`ProjectionError::Failed`](crate::error::ProjectionError::Failed) if a projection's `init` fails.
    /// - [`Error::InvalidInput`](crate::Error::InvalidInput) if an option is out of range.
    pub fn open(self) -> Result<EventStore> {
        let store = self.open_unchecked()?;
        store.prepare()?;
        Ok(store)
    }

    /// Returns the SQL of the schema and of the declared collections.
    #[cfg(feature = "cli")]
    pub(crate) fn sql(&self) -> Result<String> {
        use schema::{Declared, SchemaPart};
        schema::check_name(&self.schema)?;
        self.collections.check()?;
        Ok(schema::sql(&self.schema, SchemaPart::EventStore) + &self.collections.sql(&self.schema))
    }

    /// Opens the store without a check of the schema, so that it can be migrated later.
    ///
    /// # Errors
    /// The errors of [`open`](EventStoreBuilder::open), except for the schema and the projections.
    pub fn open_unchecked(self) -> Result<EventStore> {
        refuse_async_context()?;
        schema::check_name(&self.schema)?;
        self.collections.check()?;
        let projections = InlineProjections::new(self.projections)?;
        let activation = self.activation;
        EventStore::new(
            self.source.open(&self.connections)?,
            &self.schema.into(),
            projections,
            self.collections,
            self.auto_migration,
            self.notifications,
            Arc::new(move |store: &EventStore| activation.activate(store)),
        )
    }
}

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

/// Sets up an [`EventStore`].
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
    /// Opens a store with the defaults. See [`EventStoreBuilder::open`].
    ///
    /// # Errors
    /// Those of [`EventStoreBuilder::open`].
    pub fn open(connection_string: &str) -> Result<Self> {
        Self::builder(connection_string).open()
    }

    /// Begins to set up a store in the database that the connection string names, as a URL or in the `key=value` form.
    pub fn builder(connection_string: &str) -> EventStoreBuilder {
        EventStoreBuilder::new(connection_string)
    }
}

impl std::fmt::Debug for EventStoreBuilder {
    /// Without the connection string, which may hold a password.
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

    /// Sets up a store on a pool of the caller's, any r2d2 pool of `postgres` clients.
    ///
    /// Such connections have no place for prepared statements, so every statement is planned anew, still in one round trip.
    /// The [connection options](Self::connection_options) do not apply. Of each tenant that a connection has used, the server keeps
    /// up to half a megabyte until the connection is closed: with many tenants, give the pool a short
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

    /// Runs a projection in the transaction of every append. Projections run in the order in which they are given.
    /// Defaults to none.
    pub fn inline_projection(mut self, projection: impl Projection) -> Self {
        self.projections.push(Arc::new(projection));
        self
    }

    /// What opening the store, and the first use of a tenant, does with inline projections that have to be built from events
    /// that are stored already. Defaults to [`OnHistory::Build`].
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

    /// Is called after every batch of such a build, with the projection's name. Defaults to nothing.
    pub fn on_build_progress(
        mut self,
        report: impl Fn(&str, RebuildProgress) + Send + Sync + 'static,
    ) -> Self {
        self.activation.report = Arc::new(report);
        self
    }

    /// Declares a collection with its indexes, as a part of the migration: one of its own, or the read model of a
    /// [`DocumentProjection`](crate::DocumentProjection). Defaults to none.
    pub fn collection(mut self, definition: CollectionDefinition) -> Self {
        self.collections.add(definition);
        self
    }

    /// The PostgreSQL schema that the tables are in. Defaults to `public`.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Whether opening the store may change the schema. Defaults to [`AutoMigration::CreateOrUpdate`].
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

    /// Whether processes wake up each other's consumers by PostgreSQL's `NOTIFY`. It is sent after the commit by a thread in
    /// the background, and only while a consumer lives somewhere; dropping the last clone of the store waits up to a second
    /// for it. Consumers keep one connection more than the pool's to hear it; on a pool of the caller's they only poll.
    ///
    /// Say `false` behind `PgBouncer` in transaction mode, over which nothing can be heard; consumers poll then. Those of the
    /// same process are woken up in any case. Defaults to `true`.
    pub fn notifications(mut self, notify: bool) -> Self {
        self.notifications = notify;
        self
    }

    /// Opens the store: connects, migrates the schema unless told not to, registers the projections, and makes them active.
    ///
    /// # Errors
    /// [`DatabaseError::ConnectionString`](crate::database::DatabaseError::ConnectionString),
    /// [`DatabaseError::Connect`](crate::database::DatabaseError::Connect), [`DatabaseError::Schema`](crate::database::DatabaseError::Schema),
    /// [`ProjectionError::Failed`](crate::error::ProjectionError::Failed) when a projection's `init` fails,
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) when an option makes no sense.
    pub fn open(self) -> Result<EventStore> {
        let store = self.open_unchecked()?;
        store.prepare()?;
        Ok(store)
    }

    /// The SQL of the schema and of the declared collections.
    #[cfg(feature = "cli")]
    pub(crate) fn sql(&self) -> Result<String> {
        use schema::{Declared, SchemaPart};
        schema::check_name(&self.schema)?;
        self.collections.check()?;
        Ok(schema::sql(&self.schema, SchemaPart::EventStore) + &self.collections.sql(&self.schema))
    }

    /// Opens the store without a look at the schema, to migrate it later by hand.
    ///
    /// # Errors
    /// Like [`open`](EventStoreBuilder::open), but for the schema and the projections.
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

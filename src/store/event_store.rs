//! The event store: each operation runs in its own transaction.

use crate::database::{
    AutoMigration, Connections, DEFAULT_PARTITION, Declared, PooledTransaction, RetryPolicy,
    Schema, SchemaPart, Sql, Transaction, refuse_async_context, retry, scalar,
};
use crate::error::{Error, Result};
use crate::events::{
    Aggregate, AppendOptions, Appendable, Appended, CommandKey, Event, Feed, FeedOptions, Horizon,
    Partition, ReadOptions, Recorded, Stored, StreamAppend, StreamIter, StreamMessages, StreamRead,
    Tenants, Wakeups, feed, stream,
};
use crate::pongo::{Collection, CollectionDefinitions, CollectionTables, Executor};
use crate::projection::{InlineProjections, RegisteredProjection, registry};
use crate::slots::LeaseRenewer;
use crate::store::after_commit::{AfterCommit, Committed};
use crate::store::follower::Follower;
use crate::store::session::{Session, run_in};
use crate::store::snapshot_writer::SnapshotWriter;
use crossbeam_channel::bounded;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::sync::Arc;

/// Maximum number of retries of an append with inline projections, if a retry is safe.
const REPETITIONS: RetryPolicy = RetryPolicy::times(3);

const CAN_WRITE: &str = "SELECT NOT pg_is_in_recovery() AND pg_catalog.current_setting('transaction_read_only') = 'off'";

/// An event store in a PostgreSQL database.
///
/// Cheap to clone: all clones share one connection pool. Each operation takes a connection for one transaction.
/// [`with_session`](EventStore::with_session) runs several operations in one transaction.
#[derive(Clone)]
pub struct EventStore {
    connections: Connections,
    partition: Arc<Partition>,
    projections: InlineProjections,
    auto_migration: AutoMigration,
    /// Partitions in which this process has registered its projections.
    registered: Arc<Mutex<HashSet<String>>>,
    collections: Arc<CollectionTables>,
    declared: Arc<CollectionDefinitions>,
    committed: Committed,
    lease_renewer: LeaseRenewer,
    /// Activates registered projections.
    activate: Arc<Activate>,
    /// Handles the events that projections have missed. Started by the first registration.
    follower: Arc<Mutex<Option<Follower>>>,
}

/// Activates the registered projections of a store, with the options of its builder.
pub(crate) type Activate = dyn Fn(&EventStore) -> Result<()> + Send + Sync;

impl std::fmt::Debug for EventStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("EventStore")
            .field("schema", self.partition.schema())
            .field("partition", &self.partition.name)
            .field("projections", &self.projections)
            .finish_non_exhaustive()
    }
}

impl EventStore {
    pub(crate) fn new(
        connections: Connections,
        schema: &Arc<str>,
        projections: InlineProjections,
        declared: CollectionDefinitions,
        auto_migration: AutoMigration,
        notifications: bool,
        activate: Arc<Activate>,
    ) -> Result<Self> {
        let partition = Partition::new(schema, DEFAULT_PARTITION)?;
        let (bell, rings) = bounded(1);
        let follower = (!projections.is_empty()).then(|| Follower {
            connections: connections.clone(),
            schema: Arc::clone(schema),
            projections: projections.clone(),
            rings,
        });
        Ok(Self {
            activate,
            follower: Arc::new(Mutex::new(follower)),
            committed: Committed {
                wakeups: Wakeups::new(&connections, schema, notifications),
                snapshots: Arc::new(SnapshotWriter::new(&connections)),
            },
            lease_renewer: LeaseRenewer::new(&connections, schema),
            connections: connections.of_partition(&partition.scope().partition),
            partition: Arc::new(partition),
            projections: projections.followed_by(bell),
            auto_migration,
            declared: Arc::new(declared),
            registered: Arc::default(),
            collections: Arc::new(CollectionTables::new(
                auto_migration == AutoMigration::CreateOrUpdate,
            )),
        })
    }

    /// Creates missing objects, checks the store's requirements, and registers the projections.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.schema().prepare(self.auto_migration)?;
        self.verify()?;
        self.prepare_own_projections()
    }

    /// Checks the requirements of the store (this tenant), even if an earlier check passed.
    pub(crate) fn verify(&self) -> Result<()> {
        Ok(self.connections.verify(self.partition.verification())?)
    }

    /// Fails if the schema is missing or old.
    #[cfg(feature = "cli")]
    pub(crate) fn check_schema(&self) -> Result<()> {
        Ok(self.schema().prepare(AutoMigration::None)?)
    }

    /// Creates the projections' objects, and registers the projections.
    fn prepare_own_projections(&self) -> Result<()> {
        if self.projections.is_empty() || !self.can_write()? {
            return Ok(());
        }
        if self.may_migrate() {
            let mut transaction = PooledTransaction::begin(&self.connections)?;
            self.projections.init(transaction.sql(), &self.partition)?;
            transaction.commit()?;
        }
        self.register_projections()
    }

    /// Whether the database accepts writes. On a standby, nothing is appended, so no projection has to be registered.
    fn can_write(&self) -> Result<bool> {
        self.connections.run(true, |sql| {
            let rows = sql
                .query_unnamed(CAN_WRITE, &[])
                .map_err(|source| Error::database("check for a standby", source))?;
            Ok(scalar(&rows)?.unwrap_or(true))
        })
    }

    /// Appends messages to a stream at any version, and runs the inline projections in the same transaction.
    ///
    /// Without inline projections, this takes one round trip.
    ///
    /// # Errors
    /// - [`Error::StreamArchived`] if the stream is archived.
    /// - [`Error::Encode`] or [`Error::InvalidInput`] if a message cannot be stored.
    /// - [`ProjectionError::Failed`](crate::error::ProjectionError::Failed) if an inline projection fails.
    ///
    /// Nothing is stored, except that the outcome is unknown after
    /// [`DatabaseError::UnknownOutcome`](crate::database::DatabaseError::UnknownOutcome).
    pub fn append_to_stream<A: Appendable>(
        &self,
        stream: &str,
        messages: &[A],
    ) -> Result<Appended> {
        self.append_to_stream_with(stream, messages, AppendOptions::new())
    }

    /// Appends messages to a stream, with options.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the stream is not at the expected version, and the errors of
    /// [`append_to_stream`](EventStore::append_to_stream).
    pub fn append_to_stream_with<A: Appendable>(
        &self,
        stream: &str,
        messages: &[A],
        options: AppendOptions,
    ) -> Result<Appended> {
        self.append_one(&options.prepare(stream, messages)?)
    }

    fn append_one(&self, append: &StreamAppend) -> Result<Appended> {
        if self.projections.is_empty() {
            let stored = self.run_append(append.has_own_ids(), |sql| {
                stream::append(sql, &self.partition, append, None)
            })?;
            self.appended(stored.newly_appended());
            return Ok(stored.into());
        }
        self.append_in_session(append.has_own_ids(), |session| session.append(append))
    }

    /// Appends to several streams at once: all or nothing, in one round trip. The results are in the order of the arguments.
    ///
    /// Streams are locked in the order of their names, so concurrent calls cannot deadlock. Their messages have the same
    /// order in the feed.
    ///
    /// # Errors
    /// The errors of [`append_to_stream_with`](EventStore::append_to_stream_with), for the first stream that is refused.
    pub fn append_to_streams(&self, streams: Vec<StreamMessages>) -> Result<Vec<Appended>> {
        let appends: Vec<StreamAppend> = streams.into_iter().map(|stream| stream.0).collect();
        self.append_prepared(&appends)
    }

    pub(crate) fn append_prepared(&self, appends: &[StreamAppend]) -> Result<Vec<Appended>> {
        if appends.is_empty() {
            return Ok(Vec::new());
        }
        if let [append] = appends
            && !append.messages.is_empty()
        {
            return Ok(vec![self.append_one(append)?]);
        }
        let repeatable = appends.iter().all(StreamAppend::is_repeatable);
        if self.projections.is_empty() {
            let stored = self.run_append(repeatable, |sql| {
                stream::append_to_streams(sql, &self.partition, appends, None)
            })?;
            self.appended(stored.iter().map(Stored::newly_appended).sum());
            return Ok(stored.into_iter().map(Appended::from).collect());
        }
        self.append_in_session(repeatable, |session| session.append_all(appends))
    }

    /// `None` where the key is taken. A repeat is safe: it finds the key.
    pub(crate) fn append_prepared_under_key(
        &self,
        appends: &[StreamAppend],
        key: &CommandKey,
        reply: &[u8],
    ) -> Result<Option<Vec<Appended>>> {
        if !self.projections.is_empty() {
            return self.append_in_session(true, |session| {
                session.append_all_under_key(appends, key, reply)
            });
        }
        let stored = self.run_append(true, |sql| {
            stream::append_under_key(sql, &self.partition, appends, key, reply, None)
        })?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        self.appended(stored.iter().map(Stored::newly_appended).sum());
        Ok(Some(stored.into_iter().map(Appended::from).collect()))
    }

    /// Runs an append as its own transaction.
    fn run_append<T>(
        &self,
        repeatable: bool,
        append: impl FnMut(&mut dyn Sql) -> Result<T>,
    ) -> Result<T> {
        let verification = self.partition.verification();
        self.connections
            .run_verified(verification, repeatable, append)
    }

    /// Runs an append with its inline projections. It is retried after a stale plan and after a repeated registration of the
    /// projections. It is also retried after an unknown outcome, if the message ids make that safe.
    fn append_in_session<T>(
        &self,
        repeatable: bool,
        append: impl Fn(&mut Session<'_>) -> Result<T>,
    ) -> Result<T> {
        let once = || -> Result<T> {
            self.register_projections()?;
            let mut session = self.session_in(PooledTransaction::begin(&self.connections)?)?;
            let appended = append(&mut session)?;
            session.commit()?;
            Ok(appended)
        };
        retry(
            &REPETITIONS,
            |_| once(),
            |appended| match appended {
                Err(error) if error.is_outcome_unknown() => repeatable,
                Err(error) => error.is_stale_plan() || self.forget_registration(error),
                Ok(_) => false,
            },
        )
    }

    /// Reads a stream. A stream that does not exist or is archived has no events and version 0.
    ///
    /// # Errors
    /// [`Error::Decode`] if a message does not match `E`; [`Error::StreamGap`] if messages are missing.
    pub fn read_stream<E: Event>(&self, stream: &str) -> Result<StreamRead<E>> {
        self.read_stream_with(stream, ReadOptions::new())
    }

    /// Reads a range of a stream.
    ///
    /// # Errors
    /// - [`Error::Conflict`] if the stream is not at the version that the options expect.
    /// - [`Error::Decode`] if a message does not match `E`.
    /// - [`Error::StreamGap`] if messages are missing.
    pub fn read_stream_with<E: Event>(
        &self,
        stream: &str,
        options: ReadOptions,
    ) -> Result<StreamRead<E>> {
        self.connections.run(true, |sql| {
            StreamRead::read(sql, &self.partition, stream, &options)
        })
    }

    /// Returns an iterator over a stream of any length, in bounded memory.
    pub fn read_stream_iter<E: Event>(&self, stream: &str, options: ReadOptions) -> StreamIter<E> {
        StreamIter::new(
            self.connections.clone(),
            Arc::clone(&self.partition),
            stream,
            options,
        )
    }

    /// Folds the events of a stream into a state as they arrive.
    ///
    /// # Errors
    /// [`Error::Decode`] if a message does not match `E`; [`Error::StreamGap`] if messages are missing.
    pub fn aggregate_stream<S, E: Event>(
        &self,
        stream: &str,
        initial: impl Fn() -> S,
        mut evolve: impl FnMut(S, E) -> S,
    ) -> Result<Aggregate<S>> {
        self.aggregate_stream_with(stream, ReadOptions::new(), initial, |state, recorded| {
            evolve(state, recorded.event)
        })
    }

    /// Folds a range of a stream. `evolve` gets each event with its recorded metadata.
    ///
    /// If the connection is lost meanwhile, `initial` is called again and the stream is read from the beginning.
    ///
    /// # Errors
    /// - [`Error::Conflict`] if the stream is not at the version that the options expect.
    /// - [`Error::Decode`] if a message does not match `E`.
    /// - [`Error::StreamGap`] if messages are missing.
    pub fn aggregate_stream_with<S, E: Event>(
        &self,
        stream: &str,
        options: ReadOptions,
        initial: impl Fn() -> S,
        mut evolve: impl FnMut(S, Recorded<E>) -> S,
    ) -> Result<Aggregate<S>> {
        self.connections.run(true, |sql| {
            Aggregate::read(
                sql,
                &self.partition,
                stream,
                &options,
                &initial,
                &mut evolve,
            )
        })
    }

    /// Whether a stream exists and is not archived.
    ///
    /// # Errors
    /// If the database cannot be queried.
    pub fn stream_exists(&self, stream: &str) -> Result<bool> {
        self.connections.run(true, |sql| {
            Ok(stream::version(sql, &self.partition, stream)?.is_some())
        })
    }

    /// Returns the metadata of a stream; `None` if it does not exist or is archived.
    ///
    /// # Errors
    /// If the database cannot be queried.
    pub fn stream_metadata(&self, stream: &str) -> Result<Option<Map<String, Value>>> {
        self.connections.run(true, |sql| {
            Ok(stream::version(sql, &self.partition, stream)?.map(|(_, metadata)| metadata))
        })
    }

    /// Replaces the metadata of a stream. Returns false if it does not exist or is archived.
    ///
    /// # Errors
    /// If the metadata cannot be stored as JSON.
    pub fn set_stream_metadata(&self, stream: &str, metadata: &Map<String, Value>) -> Result<bool> {
        let json = crate::json::to_json(metadata).map_err(|source| Error::Encode {
            stream: stream.to_owned(),
            source: source.into(),
        })?;
        self.connections.run(true, |sql| {
            stream::set_metadata(sql, &self.partition, stream, &json)
        })
    }

    /// Moves a stream to the archive and returns its version; `None` if no active stream has this name. By default, an
    /// archived stream is not read. It refuses appends. The feed still delivers its messages.
    ///
    /// # Errors
    /// If the database refuses the move: the role has to own the tables.
    pub fn archive_stream(&self, stream: &str) -> Result<Option<u64>> {
        self.connections.run(true, |sql| {
            stream::move_stream(sql, &self.partition, stream, true)
        })
    }

    /// Restores a stream from the archive and returns its version; `None` if the archive has no such stream.
    ///
    /// # Errors
    /// If the database refuses the move: the role has to own the tables.
    pub fn unarchive_stream(&self, stream: &str) -> Result<Option<u64>> {
        self.connections.run(true, |sql| {
            stream::move_stream(sql, &self.partition, stream, false)
        })
    }

    /// Returns all messages of the store (of this tenant) in the order of their global positions. It ends at the horizon: no
    /// open append can add a message below it. Messages whose type `E` does not have are skipped.
    pub fn read_all<E: Event>(&self, options: FeedOptions) -> Feed<E> {
        Feed::new(
            self.connections.clone(),
            Arc::clone(&self.partition),
            options,
        )
    }

    /// Returns how far a reader at position `after` can read the feed now.
    ///
    /// # Errors
    /// If the server is a standby, or its sequence is lower than `after`, as after an incomplete restore.
    pub fn feed_horizon(&self, after: u64) -> Result<Horizon> {
        self.connections
            .run(true, |sql| feed::horizon(sql, &self.partition, after))
    }

    /// Returns the store of one tenant, with its own streams, feed and documents. The default partition is the store itself.
    ///
    /// The tenant has to be [added](Tenants::add) first. Until then, operations fail with [`Error::UnknownTenant`]. The inline
    /// projections are built in a tenant by its first append or session, or by the start of a consumer. Until then, their
    /// collections are empty.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the name is not valid for a tenant.
    pub fn tenant(&self, name: &str) -> Result<Self> {
        let partition = Partition::new(self.partition.schema(), name)?;
        Ok(Self {
            connections: self.connections.of_partition(&partition.scope().partition),
            partition: Arc::new(partition),
            ..self.clone()
        })
    }

    /// Returns the tenants, to add, list and remove them.
    pub fn tenants(&self) -> Tenants {
        let (wakeups, registered) = (self.committed.wakeups.clone(), Arc::clone(&self.registered));
        let forget = move |tenant: &str| {
            wakeups.forget(tenant);
            registered.lock().remove(tenant);
        };
        Tenants::new(
            self.connections.clone(),
            Arc::clone(self.partition.schema()),
            Arc::new(forget),
        )
    }

    /// Returns the database schema: its SQL, its state, its migration.
    pub fn schema(&self) -> Schema {
        Schema::new(
            self.connections.clone(),
            Arc::clone(self.partition.schema()),
            SchemaPart::EventStore,
            Arc::clone(&self.declared) as Arc<dyn Declared>,
        )
    }

    /// Returns a collection of documents. Its first use creates its table, if the store may migrate.
    pub fn collection<T>(&self, name: &str) -> Collection<'static, T> {
        let executor = Executor::Connections {
            connections: self.connections.clone(),
            scope: self.partition.scope().clone(),
            tables: Arc::clone(&self.collections),
        };
        Collection::new(executor, name)
    }

    /// Runs several operations in one transaction. It commits if the closure succeeds, and rolls back otherwise.
    ///
    /// ```no_run
    /// # use emmett_postgresql::{EventStore, RawEvent};
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = EventStore::builder("postgresql://localhost/shop").open()?;
    /// # let (out, into) = (RawEvent::new("Withdrawn", 5.into()), RawEvent::new("Deposited", 5.into()));
    /// store.with_session(|session| {
    ///     session.append_to_stream("Account-1", &[out])?;
    ///     session.append_to_stream("Account-2", &[into])?;
    ///     Ok(())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The closure's error: an [`Error`] unchanged, any other error as [`Error::Session`]. Also the errors of
    /// [`Session::commit`].
    pub fn with_session<T>(
        &self,
        run: impl FnOnce(&mut Session<'_>) -> anyhow::Result<T>,
    ) -> Result<T> {
        let mut session = self.begin()?;
        let done = run_in(&mut session, run).inspect_err(|error| {
            self.forget_registration(error);
        })?;
        session.commit()?;
        Ok(done)
    }

    /// Begins a transaction that the caller commits. On a standby, it can read streams and documents.
    ///
    /// # Errors
    /// If no connection is available.
    pub fn begin(&self) -> Result<Session<'static>> {
        self.register_projections()?;
        self.session_in(PooledTransaction::begin_by_default(&self.connections)?)
    }

    fn session_in(&self, mut transaction: PooledTransaction) -> Result<Session<'static>> {
        transaction.verify(self.partition.verification())?;
        let transaction = Transaction::pooled(transaction, self.partition.scope().clone());
        Ok(self.session(transaction).acting(self.committed.clone()))
    }

    /// Returns a session of the store in a transaction.
    pub(crate) fn session<'a>(&self, transaction: Transaction<'a>) -> Session<'a> {
        let partition = Arc::clone(&self.partition);
        Session::new(transaction, partition, self.projections.clone())
    }

    /// Runs operations of the store in the caller's transaction, which the caller commits.
    ///
    /// Commit only after this function has succeeded: it fails after a failed statement, while the client's own `commit`
    /// would report success. Consumers find the appends by their next poll, because the store does not see the commit.
    ///
    /// # Errors
    /// The closure's error: an [`Error`] unchanged, any other error as [`Error::Session`]. Roll the transaction back after
    /// an error.
    pub fn in_transaction<T>(
        &self,
        transaction: &mut postgres::Transaction<'_>,
        run: impl FnOnce(&mut Session<'_>) -> anyhow::Result<T>,
    ) -> Result<T> {
        refuse_async_context()?;
        self.register_projections()?;
        let scope = self.partition.scope().clone();
        let mut session = self.session(Transaction::borrowed(transaction, scope));
        let done = run_in(&mut session, run).inspect_err(|error| {
            self.forget_registration(error);
        })?;
        session.commit()?;
        Ok(done)
    }

    /// Returns the registered projections of the store (of this tenant) in all versions, by name, then version.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// for projection in store.registered_projections()? {
    ///     println!("{} version {}: {}", projection.name, projection.version, projection.status);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the database cannot be queried.
    pub fn registered_projections(&self) -> Result<Vec<RegisteredProjection>> {
        self.connections
            .run(true, |sql| registry::list(sql, &self.partition))
    }

    pub(crate) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Whether opening the store may have created the projections' objects.
    pub(crate) fn may_migrate(&self) -> bool {
        self.auto_migration == AutoMigration::CreateOrUpdate
    }

    /// Wakes the consumers that wait for messages. Call it only after a commit.
    pub(crate) fn appended(&self, messages: usize) {
        self.committed(AfterCommit {
            appended: messages,
            ..AfterCommit::default()
        });
    }

    /// Does what a transaction has left to be done. Call it only after its commit.
    pub(crate) fn committed(&self, after: AfterCommit) {
        self.committed
            .act(&self.partition, &self.projections, after);
    }

    pub(crate) fn wakeups(&self) -> &Wakeups {
        &self.committed.wakeups
    }

    pub(crate) fn lease_renewer(&self) -> &LeaseRenewer {
        &self.lease_renewer
    }

    pub(crate) fn projections(&self) -> &InlineProjections {
        &self.projections
    }

    /// Registers the projections in this partition, once per process.
    pub(crate) fn register_projections(&self) -> Result<()> {
        if self.projections.is_empty() || self.registered().contains(&self.partition.name) {
            return Ok(());
        }
        if !self.can_write()? {
            return Ok(());
        }
        self.prepare_projections()
    }

    /// Registers the projections in this partition and activates them, with the builder's options.
    pub(crate) fn prepare_projections(&self) -> Result<()> {
        if self.projections.is_empty() {
            return Ok(());
        }
        self.register_projections_anew()?;
        (self.activate)(self)?;
        let follower = self.follower.lock().take();
        follower.map_or(Ok(()), Follower::start)?;
        self.registered().insert(self.partition.name.clone());
        Ok(())
    }

    /// Removes a projection in all versions, with its missed events, from the registry of the store (of this tenant).
    /// Returns false if it is not registered. Its documents and tables stay. A program with the projection registers and
    /// builds it again.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// store.forget_projection("cart_summaries")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the database refuses the removal.
    pub fn forget_projection(&self, name: &str) -> Result<bool> {
        self.connections
            .run(true, |sql| registry::forget(sql, &self.partition, name))
    }

    /// Registers the projections again in this partition, which may have been removed and added since.
    pub(crate) fn register_projections_anew(&self) -> Result<()> {
        self.connections
            .run(true, |sql| self.projections.register(sql, &self.partition))
    }

    /// Whether the projections have to be registered again, because the tenant was removed and added since.
    fn forget_registration(&self, error: &Error) -> bool {
        error.is_unregistered_projection() && self.registered().remove(&self.partition.name)
    }

    fn registered(&self) -> MutexGuard<'_, HashSet<String>> {
        self.registered.lock()
    }
}

//! The event store: each operation as a transaction of its own.

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
use crate::store::follower::Follower;
use crate::store::session::{Session, run_in};
use crossbeam_channel::bounded;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::sync::Arc;

/// How often an append with inline projections is repeated, where that is safe.
const REPETITIONS: RetryPolicy = RetryPolicy::times(3);

const CAN_WRITE: &str = "SELECT NOT pg_is_in_recovery() AND pg_catalog.current_setting('transaction_read_only') = 'off'";

/// An event store in a PostgreSQL database.
///
/// Cheap to clone; all clones share one pool of connections. Every operation takes a connection, does its work in one
/// transaction, and gives it back; [`with_session`](EventStore::with_session) puts several into one.
#[derive(Clone)]
pub struct EventStore {
    connections: Connections,
    partition: Arc<Partition>,
    projections: InlineProjections,
    auto_migration: AutoMigration,
    /// The partitions in which this process has registered its projections.
    registered: Arc<Mutex<HashSet<String>>>,
    collections: Arc<CollectionTables>,
    declared: Arc<CollectionDefinitions>,
    wakeups: Wakeups,
    lease_renewer: LeaseRenewer,
    /// Makes registered projections active.
    activate: Arc<Activate>,
    /// Follows what they have missed; started by the first registration.
    follower: Arc<Mutex<Option<Follower>>>,
}

/// Makes the registered projections of a store active, as its builder was told.
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
            wakeups: Wakeups::new(&connections, schema, notifications),
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

    /// Creates what is missing, looks at what the store relies on, and registers the projections.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.schema().prepare(self.auto_migration)?;
        self.verify()?;
        self.prepare_own_projections()
    }

    /// Looks at what the store (this tenant) relies on, whatever was found before.
    pub(crate) fn verify(&self) -> Result<()> {
        Ok(self.connections.verify(self.partition.verification())?)
    }

    /// Fails where the schema is missing or old.
    #[cfg(feature = "cli")]
    pub(crate) fn check_schema(&self) -> Result<()> {
        Ok(self.schema().prepare(AutoMigration::None)?)
    }

    /// Creates what the projections need, and registers them.
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

    /// Whether anything can be written here. On a standby, nothing is appended, so no projection has to be registered.
    fn can_write(&self) -> Result<bool> {
        self.connections.run(true, |sql| {
            let rows = sql
                .query_unnamed(CAN_WRITE, &[])
                .map_err(|source| Error::database("look for a standby", source))?;
            Ok(scalar(&rows)?.unwrap_or(true))
        })
    }

    /// Appends messages to a stream, at whatever version it is, and runs the inline projections in the same transaction.
    ///
    /// Without inline projections that is one round trip.
    ///
    /// # Errors
    /// [`Error::StreamArchived`], [`ProjectionError::Failed`](crate::error::ProjectionError::Failed), [`Error::Encode`] and others;
    /// nothing is stored, except after [`DatabaseError::UnknownOutcome`](crate::database::DatabaseError::UnknownOutcome).
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
    /// [`Error::Conflict`] when the stream is not at the expected version, and those of
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

    /// Appends to several streams at once: all or nothing, in one round trip. Streams are locked in the order of their
    /// names, so that two such calls cannot wait for each other; that is the order of their messages in the feed, too.
    ///
    /// The results come in the order of the call.
    ///
    /// # Errors
    /// Those of [`append_to_stream_with`](EventStore::append_to_stream_with), for the first stream that is refused.
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

    /// An append that is its own transaction.
    fn run_append<T>(
        &self,
        repeatable: bool,
        append: impl FnMut(&mut dyn Sql) -> Result<T>,
    ) -> Result<T> {
        let verification = self.partition.verification();
        self.connections
            .run_verified(verification, repeatable, append)
    }

    /// An append with its inline projections. Repeated where a migration has made a prepared statement stale, where the
    /// projections have to be registered again, and where the outcome is unknown and the message ids make that safe.
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

    /// Reads a stream. A stream that does not exist, or is archived, has no events and version 0.
    ///
    /// # Errors
    /// [`Error::Decode`] when a message does not fit `E`; [`Error::StreamGap`] when messages are missing.
    pub fn read_stream<E: Event>(&self, stream: &str) -> Result<StreamRead<E>> {
        self.read_stream_with(stream, ReadOptions::new())
    }

    /// Reads a part of a stream.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the options expect another version, [`Error::Decode`] when a message does not fit `E`,
    /// [`Error::StreamGap`] when messages are missing.
    pub fn read_stream_with<E: Event>(
        &self,
        stream: &str,
        options: ReadOptions,
    ) -> Result<StreamRead<E>> {
        self.connections.run(true, |sql| {
            StreamRead::read(sql, &self.partition, stream, &options)
        })
    }

    /// Reads a stream of any length in bounded memory.
    pub fn read_stream_iter<E: Event>(&self, stream: &str, options: ReadOptions) -> StreamIter<E> {
        StreamIter::new(
            self.connections.clone(),
            Arc::clone(&self.partition),
            stream,
            options,
        )
    }

    /// Folds the events of a stream into a state, as they arrive.
    ///
    /// # Errors
    /// [`Error::Decode`] when a message does not fit `E`; [`Error::StreamGap`] when messages are missing.
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

    /// Folds a part of a stream; `evolve` gets the events with what was recorded beside them.
    ///
    /// `initial` is called again if the connection is lost meanwhile: the stream is then read from the beginning.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the options expect another version, [`Error::Decode`] when a message does not fit `E`,
    /// [`Error::StreamGap`] when messages are missing.
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
    /// When the database cannot be asked.
    pub fn stream_exists(&self, stream: &str) -> Result<bool> {
        self.connections.run(true, |sql| {
            Ok(stream::version(sql, &self.partition, stream)?.is_some())
        })
    }

    /// The metadata of a stream; `None` when it does not exist or is archived.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn stream_metadata(&self, stream: &str) -> Result<Option<Map<String, Value>>> {
        self.connections.run(true, |sql| {
            Ok(stream::version(sql, &self.partition, stream)?.map(|(_, metadata)| metadata))
        })
    }

    /// Replaces the metadata of a stream; false when it does not exist or is archived.
    ///
    /// # Errors
    /// When the metadata cannot be kept as JSON.
    pub fn set_stream_metadata(&self, stream: &str, metadata: &Map<String, Value>) -> Result<bool> {
        let json = crate::json::to_json(metadata).map_err(|source| Error::Encode {
            stream: stream.to_owned(),
            source: source.into(),
        })?;
        self.connections.run(true, |sql| {
            stream::set_metadata(sql, &self.partition, stream, &json)
        })
    }

    /// Moves a stream to the archive: it is not read by default any more, and refuses appends. The feed still delivers its
    /// messages. Returns its version; `None` when there is no such stream outside the archive.
    ///
    /// # Errors
    /// When the database refuses it: the role needs to own the tables.
    pub fn archive_stream(&self, stream: &str) -> Result<Option<u64>> {
        self.connections.run(true, |sql| {
            stream::move_stream(sql, &self.partition, stream, true)
        })
    }

    /// Brings a stream back from the archive. Returns its version; `None` when there is no such stream in the archive.
    ///
    /// # Errors
    /// When the database refuses it: the role needs to own the tables.
    pub fn unarchive_stream(&self, stream: &str) -> Result<Option<u64>> {
        self.connections.run(true, |sql| {
            stream::move_stream(sql, &self.partition, stream, false)
        })
    }

    /// All messages of the store (of this tenant) in the order of their global positions, without holes: up to where no open
    /// append can add one below. Messages of types that the enum `E` does not have are left out.
    pub fn read_all<E: Event>(&self, options: FeedOptions) -> Feed<E> {
        Feed::new(
            self.connections.clone(),
            Arc::clone(&self.partition),
            options,
        )
    }

    /// How far the feed can be read now, for a reader that has come to `after`.
    ///
    /// # Errors
    /// When the server is a standby, or its sequence is behind `after`, as after a careless restore.
    pub fn feed_horizon(&self, after: u64) -> Result<Horizon> {
        self.connections
            .run(true, |sql| feed::horizon(sql, &self.partition, after))
    }

    /// The same store as one tenant sees it: streams, feed and documents of its own. The default one is seen without.
    ///
    /// The tenant has to be [added](Tenants::add) first; until then, operations fail with [`Error::UnknownTenant`].
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when no tenant can have this name.
    pub fn tenant(&self, name: &str) -> Result<Self> {
        let partition = Partition::new(self.partition.schema(), name)?;
        Ok(Self {
            connections: self.connections.of_partition(&partition.scope().partition),
            partition: Arc::new(partition),
            ..self.clone()
        })
    }

    /// Adds, lists and removes tenants.
    pub fn tenants(&self) -> Tenants {
        let (wakeups, registered) = (self.wakeups.clone(), Arc::clone(&self.registered));
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

    /// The database schema: its SQL, its state, its migration.
    pub fn schema(&self) -> Schema {
        Schema::new(
            self.connections.clone(),
            Arc::clone(self.partition.schema()),
            SchemaPart::EventStore,
            Arc::clone(&self.declared) as Arc<dyn Declared>,
        )
    }

    /// A collection of documents. Its table is created when it is first used, if the store may migrate.
    pub fn collection<T>(&self, name: &str) -> Collection<'static, T> {
        let executor = Executor::Connections {
            connections: self.connections.clone(),
            scope: self.partition.scope().clone(),
            tables: Arc::clone(&self.collections),
        };
        Collection::new(executor, name)
    }

    /// Runs several operations in one transaction: committed when the closure succeeds, else rolled back.
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
    /// What the closure returned: an [`Error`] as it is, another error as [`Error::Session`]. Those of
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

    /// Begins a transaction that the caller commits. On a standby it can read streams and documents.
    ///
    /// # Errors
    /// When no connection can be had.
    pub fn begin(&self) -> Result<Session<'static>> {
        self.register_projections()?;
        self.session_in(PooledTransaction::begin_by_default(&self.connections)?)
    }

    fn session_in(&self, mut transaction: PooledTransaction) -> Result<Session<'static>> {
        transaction.verify(self.partition.verification())?;
        let transaction = Transaction::pooled(transaction, self.partition.scope().clone());
        Ok(self.session(transaction).waking(self.wakeups.clone()))
    }

    /// A transaction as a session of the store.
    pub(crate) fn session<'a>(&self, transaction: Transaction<'a>) -> Session<'a> {
        let partition = Arc::clone(&self.partition);
        Session::new(transaction, partition, self.projections.clone())
    }

    /// Runs operations of the store in a transaction of the caller's, which the caller commits.
    ///
    /// The client's own `commit` reports success for a transaction in which a statement has failed; this function fails
    /// then, so commit only after it has succeeded. Consumers find what was appended when they poll: nothing here sees the
    /// commit that would wake them up.
    ///
    /// # Errors
    /// What the closure returned: an [`Error`] as it is, another error as [`Error::Session`]. The transaction should be
    /// rolled back then.
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

    /// The projections that the store (this tenant) has registered, in all their versions: by name, then version.
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
    /// When the database cannot be asked.
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

    /// Whether opening the store may have created what projections need.
    pub(crate) fn may_migrate(&self) -> bool {
        self.auto_migration == AutoMigration::CreateOrUpdate
    }

    /// Wakes up whoever waits for messages; only after a commit.
    pub(crate) fn appended(&self, messages: usize) {
        if messages > 0 {
            self.wakeups.appended(&self.partition.name, messages);
        }
    }

    pub(crate) fn wakeups(&self) -> &Wakeups {
        &self.wakeups
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

    /// Registers the projections in this partition, and makes them active, as the builder was told.
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

    /// Removes a projection from the registry of the store (of this tenant), in all its versions, with what it has missed; false
    /// where there is none. Its documents and tables stay. A program that has the projection registers and builds it again.
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
    /// When the database refuses it.
    pub fn forget_projection(&self, name: &str) -> Result<bool> {
        self.connections
            .run(true, |sql| registry::forget(sql, &self.partition, name))
    }

    /// Registers the projections in this partition, which may have been removed and added since the last time.
    pub(crate) fn register_projections_anew(&self) -> Result<()> {
        self.connections
            .run(true, |sql| self.projections.register(sql, &self.partition))
    }

    /// Whether the projections have to be registered again: the tenant was removed and added since.
    fn forget_registration(&self, error: &Error) -> bool {
        error.is_unregistered_projection() && self.registered().remove(&self.partition.name)
    }

    fn registered(&self) -> MutexGuard<'_, HashSet<String>> {
        self.registered.lock()
    }
}

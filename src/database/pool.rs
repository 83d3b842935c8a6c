//! The connection pool: tests connections only after they were idle, and replaces dead ones.

use super::connection_options::ConnectionOptions;
use super::driver_error::{lost_connection, reason};
use super::error::{DatabaseError, Result};
use super::isolation::{Isolation, OpenError};
use super::sql::{PreparingClient, Sql};
use super::used_partitions::{PartitionsOfPool, UsedPartitions};
use super::verification::{Verification, VerifiedParts};
use crate::database::endpoint::{ConnectError, Endpoint};
use postgres::{Client, SimpleQueryMessage};
use r2d2::{ManageConnection, Pool, PooledConnection};
use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A connection that was used within this time is handed out without a test.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// A connection that the library opened.
pub(crate) struct Connection {
    /// `None` only while the connection is being dropped.
    sql: Option<Box<PreparingClient>>,
    used_at: Instant,
    suspicion: u64,
    broken: bool,
    verified: VerifiedParts,
    used: UsedPartitions,
}

impl Connection {
    fn new(client: Client, prepares: bool, suspicion: u64, used: UsedPartitions) -> Self {
        Self {
            sql: Some(Box::new(PreparingClient::new(client, prepares))),
            used_at: Instant::now(),
            suspicion,
            broken: false,
            verified: VerifiedParts::default(),
            used,
        }
    }

    fn sql(&mut self) -> &mut PreparingClient {
        self.used_at = Instant::now();
        self.sql
            .as_mut()
            .expect("a connection is only empty while it is dropped")
    }

    /// Whether the connection may use the partition. If not, it has to be replaced.
    fn may_use(&self, partition: Option<&Arc<str>>) -> bool {
        partition.is_none_or(|partition| self.used.add(partition))
    }

    fn is_wrong_server(&self) -> bool {
        self.sql.as_ref().is_some_and(|sql| sql.is_wrong_server)
    }
}

impl Drop for Connection {
    /// Closing a connection blocks, which panics in an async runtime.
    fn drop(&mut self) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        if let Some(sql) = self.sql.take() {
            // If no thread can be started, leaking one socket is better than a panic in a destructor.
            let _ = std::thread::Builder::new()
                .name("emt:close".into())
                .spawn(move || drop(sql));
        }
    }
}

/// True on a standby, and on a server that refuses writes before it is replaced.
const IS_READ_ONLY: &str = "SHOW transaction_read_only";

/// Opens, tests and discards connections for r2d2.
#[derive(Clone)]
pub(crate) struct ConnectionManager {
    endpoint: Arc<Endpoint>,
    prepared_statements: bool,
    /// Incremented when a connection is found dead or leads to a standby. The other connections are then tested before they
    /// are handed out.
    suspicion: Arc<AtomicU64>,
    isolation: Isolation,
    used: Arc<PartitionsOfPool>,
    most_partitions: usize,
}

impl ManageConnection for ConnectionManager {
    type Connection = Connection;
    type Error = ConnectionTestError;

    fn connect(&self) -> Result<Connection, ConnectionTestError> {
        let suspicion = self.suspicion.load(Ordering::Acquire);
        let client = self.isolation.open(&self.endpoint)?;
        Ok(Connection::new(
            client,
            self.prepared_statements,
            suspicion,
            self.used.open(self.most_partitions),
        ))
    }

    fn is_valid(&self, connection: &mut Connection) -> Result<(), ConnectionTestError> {
        let suspicion = self.suspicion.load(Ordering::Acquire);
        let rested = connection.used_at.elapsed();
        let suspected = connection.suspicion != suspicion;
        if rested < TRUSTED_FOR && !suspected && !connection.sql().client.is_closed() {
            return Ok(());
        }
        test(&mut connection.sql().client, suspected)?;
        connection.suspicion = suspicion;
        Ok(())
    }

    /// Called when a connection is returned.
    fn has_broken(&self, connection: &mut Connection) -> bool {
        if connection.is_wrong_server() {
            self.suspicion.fetch_add(1, Ordering::AcqRel);
            return true;
        }
        connection.broken
            || connection
                .sql
                .as_ref()
                .is_none_or(|sql| sql.client.is_closed())
    }
}

/// Asks whether the server responds. For a suspected connection, also asks whether the server still accepts writes.
fn test(client: &mut Client, is_suspected: bool) -> Result<(), ConnectionTestError> {
    let question = if is_suspected { IS_READ_ONLY } else { "" };
    let answer = client
        .simple_query(question)
        .map_err(ConnectionTestError::Test)?;
    let is_read_only = answer
        .iter()
        .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on")));
    if is_read_only {
        return Err(ConnectionTestError::WrongServer);
    }
    Ok(())
}

/// Why the pool could not open a connection, or discarded one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionTestError {
    #[error(transparent)]
    Connect(ConnectError),
    /// Includes the cause, because the pool keeps only the text.
    #[error("a new connection could not be prepared: {}", unprepared(.0))]
    Prepare(#[source] postgres::Error),
    #[error("an idle connection was lost: {}", reason(.0))]
    Test(#[source] postgres::Error),
    #[error("an idle connection leads to a read-only server")]
    WrongServer,
}

/// A pooler reports the reason, but the driver loses an error that it reads together with the end of the connection.
fn unprepared(error: &postgres::Error) -> String {
    let reason = reason(error);
    if lost_connection(error) {
        return format!(
            "{reason} (a pooler closes new connections while it has no server: see its log)"
        );
    }
    reason
}

impl From<OpenError> for ConnectionTestError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Connect(source) => Self::Connect(source),
            OpenError::Prepare(source) => Self::Prepare(source),
        }
    }
}

/// A pool that the caller supplied, with its type erased.
pub(crate) trait ForeignPool: Send + Sync {
    fn get(&self) -> Result<Box<dyn ForeignConnection>, r2d2::Error>;
}

pub(crate) trait ForeignConnection: DerefMut<Target = Client> + Send {}

impl<M: ManageConnection<Connection = Client>> ForeignConnection for PooledConnection<M> {}

impl<M: ManageConnection<Connection = Client>> ForeignPool for Pool<M> {
    fn get(&self) -> Result<Box<dyn ForeignConnection>, r2d2::Error> {
        Pool::get(self).map(|connection| Box::new(connection) as Box<dyn ForeignConnection>)
    }
}

/// The source of a store's connections.
#[derive(Clone)]
pub(crate) enum Connections {
    Own {
        manager: Arc<ConnectionManager>,
        pool: Pool<ConnectionManager>,
        /// The partition whose tables are used; `None` for operations on none of them.
        partition: Option<Arc<str>>,
    },
    Foreign {
        pool: Arc<dyn ForeignPool>,
        isolation: Isolation,
        /// For all connections of the pool, because they cannot be told apart. Cleared when one is found dead.
        verified: VerifiedParts,
    },
}

impl Connections {
    pub(crate) fn open(endpoint: Endpoint, options: &ConnectionOptions) -> Self {
        let manager = ConnectionManager {
            endpoint: Arc::new(endpoint),
            prepared_statements: options.prepared_statements,
            suspicion: Arc::default(),
            isolation: Isolation::default(),
            used: Arc::default(),
            most_partitions: options.tenants_per_connection,
        };
        let pool = Pool::builder()
            .max_size(options.pool_size)
            .min_idle(Some(0))
            .idle_timeout(Some(options.idle_timeout))
            .connection_timeout(options.connection_timeout)
            .test_on_check_out(true)
            .build_unchecked(manager.clone());
        Self::Own {
            manager: Arc::new(manager),
            pool,
            partition: None,
        }
    }

    /// Returns the same connections for operations on the tables of one partition.
    pub(crate) fn of_partition(&self, name: &Arc<str>) -> Self {
        let mut connections = self.clone();
        if let Self::Own { partition, .. } = &mut connections {
            *partition = Some(Arc::clone(name));
        }
        connections
    }

    pub(crate) fn foreign<M: ManageConnection<Connection = Client>>(pool: Pool<M>) -> Self {
        Self::Foreign {
            pool: Arc::new(pool),
            isolation: Isolation::default(),
            verified: VerifiedParts::default(),
        }
    }

    pub(crate) fn checkout(&self) -> Result<Checkout> {
        refuse_async_context()?;
        match self {
            Self::Own {
                manager,
                pool,
                partition,
            } => Ok(Checkout::Own(checkout_own(
                manager,
                pool,
                partition.as_ref(),
            )?)),
            Self::Foreign { pool, verified, .. } => Ok(Checkout::Foreign {
                client: pool
                    .get()
                    .map_err(|source| DatabaseError::Pool { source })?,
                verified: verified.clone(),
            }),
        }
    }

    /// Opens a connection outside the pool, for a thread that keeps it. Returns `None` for the caller's pool, because only
    /// the caller knows how to open a connection.
    pub(crate) fn dedicated(&self) -> Result<Option<Checkout>> {
        refuse_async_context()?;
        let Self::Own { manager, .. } = self else {
            return Ok(None);
        };
        let opened = manager.isolation.open(&manager.endpoint);
        let client = opened.map_err(|error| match error {
            OpenError::Connect(source) => DatabaseError::Connect {
                server: manager.endpoint.describe(),
                source,
            },
            OpenError::Prepare(source) => DatabaseError::statement("open a connection", source),
        })?;
        let (prepares, used) = (
            manager.prepared_statements,
            UsedPartitions::at_most(usize::MAX),
        );
        let connection = Connection::new(client, prepares, 0, used);
        Ok(Some(Checkout::Dedicated(connection)))
    }

    pub(super) fn isolation(&self) -> &Isolation {
        match self {
            Self::Own { manager, .. } => &manager.isolation,
            Self::Foreign { isolation, .. } => isolation,
        }
    }

    pub(crate) fn can_be_dedicated(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// Discards a dead connection, and has the idle ones tested before their next use.
    pub(crate) fn discard(&self, mut checkout: Checkout) {
        if let Checkout::Own(connection) = &mut checkout {
            connection.broken = true;
        }
        match self {
            Self::Own { manager, .. } => {
                manager.suspicion.fetch_add(1, Ordering::AcqRel);
            }
            Self::Foreign { verified, .. } => verified.clear(),
        }
    }

    /// Replaces the connections that have used a removed partition: idle ones now, others before their next use.
    pub(crate) fn removed_partition(&self, name: &str) {
        match self {
            Self::Own { manager, pool, .. } => {
                manager.used.removed(name);
                renew_resting(manager, pool);
            }
            Self::Foreign { verified, .. } => verified.remove(name),
        }
    }
}

/// Takes a connection that may use the partition.
fn checkout_own(
    manager: &ConnectionManager,
    pool: &Pool<ConnectionManager>,
    partition: Option<&Arc<str>>,
) -> Result<PooledConnection<ConnectionManager>> {
    loop {
        let mut connection = pool
            .get()
            .map_err(|source| DatabaseError::Pool { source })?;
        if connection.may_use(partition) {
            return Ok(connection);
        }
        // Replaced in place: the pool does not tell waiting callers when it discards a connection.
        if let Ok(new) = manager.connect() {
            *connection = new;
            connection.may_use(partition);
            return Ok(connection);
        }
        // The pool retries until its connection timeout.
        connection.broken = true;
    }
}

/// Reopens the idle connections that have used a removed partition. After a failure, this happens before their next use.
fn renew_resting(manager: &ConnectionManager, pool: &Pool<ConnectionManager>) {
    let resting = pool.state().idle_connections;
    let connections: Vec<_> = (0..resting).map_while(|_| pool.try_get()).collect();
    for mut connection in connections {
        if connection.used.has_removed()
            && let Ok(new) = manager.connect()
        {
            *connection = new;
        }
    }
}

/// A connection for the time until it is dropped.
pub(crate) enum Checkout {
    Own(PooledConnection<ConnectionManager>),
    Foreign {
        client: Box<dyn ForeignConnection>,
        verified: VerifiedParts,
    },
    /// Outside the pool: closed when dropped.
    Dedicated(Connection),
}

impl Checkout {
    pub(crate) fn sql(&mut self) -> &mut dyn Sql {
        match self {
            Self::Own(connection) => connection.sql(),
            Self::Foreign { client, .. } => &mut ***client,
            Self::Dedicated(connection) => connection.sql(),
        }
    }

    /// Returns the client itself, for operations other than statements.
    pub(crate) fn client(&mut self) -> &mut Client {
        match self {
            Self::Own(connection) => &mut connection.sql().client,
            Self::Foreign { client, .. } => client,
            Self::Dedicated(connection) => &mut connection.sql().client,
        }
    }

    /// Whether a statement failed because of a temporary database failure, since the last call. Always false for a
    /// connection of the caller's pool.
    pub(crate) fn take_unwell(&mut self) -> bool {
        match self {
            Self::Own(connection) => std::mem::take(&mut connection.sql().was_unwell),
            Self::Dedicated(connection) => std::mem::take(&mut connection.sql().was_unwell),
            Self::Foreign { .. } => false,
        }
    }

    /// Runs a verification unless it has already passed over this connection.
    pub(crate) fn verify(&mut self, verification: &Verification) -> Result<()> {
        if self.verified().contains(verification) {
            return Ok(());
        }
        self.verify_anew(verification)
    }

    /// Runs a verification even if it has passed before.
    pub(crate) fn verify_anew(&mut self, verification: &Verification) -> Result<()> {
        verification.run(self.sql())?;
        self.verified().insert(verification);
        Ok(())
    }

    fn verified(&self) -> &VerifiedParts {
        match self {
            Self::Own(connection) => &connection.verified,
            Self::Foreign { verified, .. } => verified,
            Self::Dedicated(connection) => &connection.verified,
        }
    }

    /// Whether the connection is known to be lost.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.client().is_closed()
    }

    /// Makes the pool discard the connection instead of handing it out again.
    pub(crate) fn poison(&mut self) {
        if let Self::Own(connection) = self {
            connection.broken = true;
        }
    }
}

/// Fails if blocking would panic: inside an async task. A thread of `spawn_blocking` may block.
pub(crate) fn refuse_async_context() -> Result<()> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return Ok(());
    };
    // Trying is the only way to tell a runtime's worker from one of its blocking threads.
    std::panic::catch_unwind(|| runtime.block_on(async {})).map_err(|_| DatabaseError::AsyncContext)
}

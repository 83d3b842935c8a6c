//! The pool: connections that are tested only when they have rested, and replaced when they died.

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

/// A connection that was used within this time is handed out without asking the server whether it is alive.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// A connection that we have opened.
pub(crate) struct Connection {
    /// `None` only while the connection is dropped.
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

    /// False where the connection has to be replaced first.
    fn may_use(&self, partition: Option<&Arc<str>>) -> bool {
        partition.is_none_or(|partition| self.used.add(partition))
    }

    fn is_wrong_server(&self) -> bool {
        self.sql.as_ref().is_some_and(|sql| sql.is_wrong_server)
    }
}

impl Drop for Connection {
    /// Closing a connection blocks, which an async runtime answers with a panic.
    fn drop(&mut self) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        if let Some(sql) = self.sql.take() {
            // Where no thread can be had, leaking one socket is better than a panic in a destructor.
            let _ = std::thread::Builder::new()
                .name("emt:close".into())
                .spawn(move || drop(sql));
        }
    }
}

/// On a standby, and where a server was made to refuse writes before it is replaced.
const IS_READ_ONLY: &str = "SHOW transaction_read_only";

/// Opens, tests and discards connections for r2d2.
#[derive(Clone)]
pub(crate) struct ConnectionManager {
    endpoint: Arc<Endpoint>,
    prepared_statements: bool,
    /// Rises whenever a connection was found dead, or to lead to a standby: then the others, too, are asked before they are
    /// handed out.
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

    /// Looked at whenever a connection comes back.
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

/// Asks whether the server is there; a connection under suspicion, whether it still leads to a server that writes.
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

/// Why the pool could not open a connection, or threw one away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionTestError {
    #[error(transparent)]
    Connect(ConnectError),
    /// The pool keeps the text only, so it has the cause in it.
    #[error("a new connection could not be prepared: {}", unprepared(.0))]
    Prepare(#[source] postgres::Error),
    #[error("an idle connection had died: {}", reason(.0))]
    Test(#[source] postgres::Error),
    #[error("an idle connection leads to a server that only reads")]
    WrongServer,
}

/// A pooler says why, but the driver forgets an error that it reads together with the end of the connection.
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

/// A pool that the caller brought, with its type erased.
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

/// Where a store's connections come from.
#[derive(Clone)]
pub(crate) enum Connections {
    Own {
        manager: Arc<ConnectionManager>,
        pool: Pool<ConnectionManager>,
        /// Whose tables are used; `None` for what looks at nobody's.
        partition: Option<Arc<str>>,
    },
    Foreign {
        pool: Arc<dyn ForeignPool>,
        isolation: Isolation,
        /// Of all its connections: nothing tells them apart. Forgotten when one is found dead.
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

    /// The same connections for what uses the tables of one partition.
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

    /// Opens a connection outside the pool, for a thread that keeps it. `None` on a pool of the caller's, which alone knows
    /// how to open one.
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

    /// Throws a connection away that was found dead, and has the resting ones asked before they are used.
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

    /// Replaces the connections that have used a partition which was removed: those that rest, now, and others before their
    /// next use.
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
        // In its place: whoever waits for a connection is not told when the pool throws one away.
        if let Ok(new) = manager.connect() {
            *connection = new;
            connection.may_use(partition);
            return Ok(connection);
        }
        // The pool tries again, for as long as an operation may wait.
        connection.broken = true;
    }
}

/// Opens the resting connections anew that have used a partition which was removed. Where that fails, it is done before their
/// next use.
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

/// A connection, until it is dropped.
pub(crate) enum Checkout {
    Own(PooledConnection<ConnectionManager>),
    Foreign {
        client: Box<dyn ForeignConnection>,
        verified: VerifiedParts,
    },
    /// Outside the pool: closed when it is dropped.
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

    /// The client itself, for what is no statement.
    pub(crate) fn client(&mut self) -> &mut Client {
        match self {
            Self::Own(connection) => &mut connection.sql().client,
            Self::Foreign { client, .. } => client,
            Self::Dedicated(connection) => &mut connection.sql().client,
        }
    }

    /// Whether the database was not well for a statement since this was asked last. Of a connection of the caller's pool,
    /// nobody knows.
    pub(crate) fn take_unwell(&mut self) -> bool {
        match self {
            Self::Own(connection) => std::mem::take(&mut connection.sql().was_unwell),
            Self::Dedicated(connection) => std::mem::take(&mut connection.sql().was_unwell),
            Self::Foreign { .. } => false,
        }
    }

    /// Looks at what a part of the store relies on, unless it was found in order over this connection before.
    pub(crate) fn verify(&mut self, verification: &Verification) -> Result<()> {
        if self.verified().contains(verification) {
            return Ok(());
        }
        self.verify_anew(verification)
    }

    /// The same, whatever was found before.
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

    /// Has the pool throw the connection away instead of handing it out again.
    pub(crate) fn poison(&mut self) {
        if let Self::Own(connection) = self {
            connection.broken = true;
        }
    }
}

/// Fails where blocking would panic: inside an async task. A thread of `spawn_blocking` may block.
pub(crate) fn refuse_async_context() -> Result<()> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return Ok(());
    };
    // The only way to tell a worker of a runtime from one of its blocking threads is to try.
    std::panic::catch_unwind(|| runtime.block_on(async {})).map_err(|_| DatabaseError::AsyncContext)
}

//! Options of a pool that the library opens.

use super::error::{DatabaseError, Result};
use std::time::{Duration, Instant};

/// Options of a connection pool, for [`EventStoreBuilder`](crate::EventStoreBuilder::connection_options) and
/// [`PongoClientBuilder`](crate::pongo::PongoClientBuilder::connection_options).
///
/// Opening the store or the client fails with [`InvalidInput`](crate::Error::InvalidInput) if a value is out of range.
///
/// ```
/// use emmett_postgresql::ConnectionOptions;
/// use std::time::Duration;
/// let options = ConnectionOptions::new()
///     .pool_size(20)
///     .idle_timeout(Duration::from_secs(30));
/// ```
///
/// # Maximum duration of an operation
///
/// The client waits for an answer without a deadline of its own. These limits end an operation earlier:
///
/// - `tcp_user_timeout` (30,000 ms) and `keepalives_idle`, `keepalives_interval` and `keepalives_count` (30 s, 10 s, 3)
///   close a connection whose peer is gone. Set them in the connection string. They do not detect a stopped process, such as
///   a pooler, whose kernel still acknowledges packets.
/// - `statement_timeout` and `lock_timeout` make the server cancel a statement. Set them for the role or in the connection
///   string, as in `options=-c statement_timeout=5000`. They only help if the server responds.
/// - [`Consumer::stop_within`](crate::consumer::Consumer::stop_within) limits the wait for the threads of a consumer.
///
/// A caller with a hard deadline runs the operation on a separate thread and waits for its result until the deadline. After
/// that, it is unknown whether an append was stored. With caller-supplied message ids, the append can be repeated.
#[derive(Debug, Clone)]
#[must_use]
pub struct ConnectionOptions {
    pub(super) pool_size: u32,
    pub(super) idle_timeout: Duration,
    pub(super) connection_timeout: Duration,
    pub(super) prepared_statements: bool,
    pub(super) tenants_per_connection: usize,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            pool_size: 10,
            idle_timeout: Duration::from_secs(600),
            connection_timeout: Duration::from_secs(30),
            prepared_statements: true,
            tenants_per_connection: 100,
        }
    }
}

impl ConnectionOptions {
    /// Options with their defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Maximum number of connections in the pool; at least 1. Connections are opened on demand. Defaults to 10.
    ///
    /// A store opens up to three more outside its pool, for any number of consumers and tenants. One renews the leases of
    /// all consumers. One receives wake-ups while a consumer runs. One sends them while others listen. Building an index
    /// uses another for its duration.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool_size = connections;
        self
    }

    /// Idle time after which a connection is closed; longer than zero. Defaults to ten minutes.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Maximum time that an operation waits for a free connection; longer than zero. Defaults to 30 seconds.
    pub fn connection_timeout(mut self, timeout: Duration) -> Self {
        self.connection_timeout = timeout;
        self
    }

    /// Whether connections keep prepared statements. Set it to `false` behind a `PgBouncer` older than 1.21 in transaction
    /// mode. Defaults to `true`.
    pub fn prepared_statements(mut self, prepare: bool) -> Self {
        self.prepared_statements = prepare;
        self
    }

    /// Maximum number of tenants whose tables one connection uses; at least 1. A connection that needs another tenant is
    /// closed and replaced. Defaults to 100.
    ///
    /// Each tenant costs the server up to half a megabyte in every connection that has used it. Only closing the connection
    /// frees the memory. A higher number saves reloading a tenant's tables, which takes longer than an append. Behind
    /// `PgBouncer`, its `server_lifetime` closes the server's connections instead.
    ///
    /// A [`PongoClient`](crate::pongo::PongoClient) keeps the documents of all tenants in the same tables, so its
    /// connections use no tenant's own tables. A consumer of all tenants reads their feeds over a separate connection, which
    /// costs the server another 50 kB a tenant.
    ///
    /// ```
    /// use emmett_postgresql::ConnectionOptions;
    /// // A server with memory for ten connections of half a gigabyte.
    /// let options = ConnectionOptions::new().tenants_per_connection(1_000);
    /// ```
    pub fn tenants_per_connection(mut self, tenants: usize) -> Self {
        self.tenants_per_connection = tenants;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.pool_size == 0 {
            return Err(DatabaseError::invalid(
                "the pool size",
                "must be at least 1",
            ));
        }
        if self.tenants_per_connection == 0 {
            return Err(DatabaseError::invalid(
                "the number of tenants per connection",
                "must be at least 1",
            ));
        }
        check_timeout("the idle timeout", self.idle_timeout)?;
        check_timeout("the connection timeout", self.connection_timeout)
    }
}

fn check_timeout(name: &str, timeout: Duration) -> Result<()> {
    if timeout == Duration::ZERO {
        return Err(DatabaseError::invalid(name, "must be longer than zero"));
    }
    // The pool adds the timeout to the current time, which panics on overflow.
    if Instant::now().checked_add(timeout).is_none() {
        return Err(DatabaseError::invalid(
            name,
            "is too long: the deadline is beyond the range of the clock",
        ));
    }
    Ok(())
}

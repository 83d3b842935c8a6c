//! What a pool of the library's own can be told.

use super::error::{DatabaseError, Result};
use std::time::{Duration, Instant};

/// The options of a pool of connections, for [`EventStoreBuilder`](crate::EventStoreBuilder::connection_options) and
/// [`PongoClientBuilder`](crate::pongo::PongoClientBuilder::connection_options).
///
/// A value out of its range is [`InvalidInput`](crate::Error::InvalidInput) when the store or the client is opened.
///
/// ```
/// use emmett_postgresql::ConnectionOptions;
/// use std::time::Duration;
/// let options = ConnectionOptions::new()
///     .pool_size(20)
///     .idle_timeout(Duration::from_secs(30));
/// ```
///
/// # How long an operation can take
///
/// An operation waits for its answer without a deadline of the client's. These limits end it earlier:
///
/// - `tcp_user_timeout` (30,000 ms) and `keepalives_idle`, `keepalives_interval` and `keepalives_count` (30 s, 10 s, 3) of the
///   connection string end a connection whose other side is gone. A stopped process whose kernel still acknowledges, such as a
///   pooler, is not noticed by them.
/// - `statement_timeout` and `lock_timeout` of the role, or `options=-c statement_timeout=5000` in the connection string, have the
///   server end a statement. They help where the server answers.
/// - [`Consumer::stop_within`](crate::consumer::Consumer::stop_within) waits for the threads of a consumer no longer than its time.
///
/// A caller that must go on in any case runs the operation on a thread of its own, and waits for its result no longer than it
/// wants. Whether an append was stored is unknown then; with message ids of the caller's it can be repeated.
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
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Maximum number of connections in the pool, at least 1. They are opened when they are needed. Defaults to 10.
    ///
    /// A store has up to three more outside its pool, however many consumers and tenants it has: one renews the leases of all
    /// its consumers, one hears wake-ups while a consumer runs, and one sends them while others listen. Building an index takes
    /// one more as long as it lasts.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool_size = connections;
        self
    }

    /// Time after which an unused connection is closed, longer than zero. Defaults to ten minutes.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Maximum time that an operation waits for a free connection, longer than zero. Defaults to 30 seconds.
    pub fn connection_timeout(mut self, timeout: Duration) -> Self {
        self.connection_timeout = timeout;
        self
    }

    /// Whether connections keep prepared statements. Say `false` behind a `PgBouncer` older than 1.21 in transaction mode.
    /// Defaults to `true`.
    pub fn prepared_statements(mut self, prepare: bool) -> Self {
        self.prepared_statements = prepare;
        self
    }

    /// Maximum number of tenants whose tables one connection uses, at least 1. For one more, the connection is closed and another
    /// one opened in its place. Defaults to 100.
    ///
    /// Each tenant costs the server up to half a megabyte in each connection that has used it, and only closing the connection
    /// frees that. A higher number saves loading a tenant's tables anew, which takes longer than an append. Behind `PgBouncer`, its
    /// `server_lifetime` closes the server's connections instead. A [`PongoClient`](crate::pongo::PongoClient) has the documents of
    /// all tenants in the same tables, so its connections use none of a tenant's own. A consumer of all tenants looks at all feeds
    /// over a connection of its own, which costs the server 50 kB a tenant more.
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
        return Err(DatabaseError::invalid(name, "must be longer than nothing"));
    }
    // The pool adds it to the present time, and would panic.
    if Instant::now().checked_add(timeout).is_none() {
        return Err(DatabaseError::invalid(
            name,
            "is longer than time can be counted",
        ));
    }
    Ok(())
}

use super::{
    Database, ServerError,
    directory::random_number,
    maintenance::{
        connect, create_database, drop_database, exists, lock_until_disconnected, rename_database,
    },
    server_process::ServerProcess,
    server_settings::ServerSettings,
};
use crate::database::with_database;
use parking_lot::Mutex;
use postgres::Client;
use std::{
    env,
    error::Error,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::OnceLock,
};

/// A PostgreSQL server for tests: a throwaway server, or the server that `EMMETT_TEST_DATABASE_URL` names.
///
/// A throwaway server is stopped, and its directory removed, when the value is dropped or the process ends, for any
/// reason. It may therefore be a `static`. It needs PostgreSQL 13 or later. The [module](super) lists the places that
/// are searched. If the process is root, the server runs as user `postgres`, or as `nobody`.
pub struct Server {
    maintenance_url: String,
    process: Option<Mutex<ServerProcess>>,
    localhost_port: Option<u16>,
}

impl Server {
    /// Starts a throwaway server that does not wait for the disk. See
    /// [`ServerBuilder::durable`](super::ServerBuilder::durable).
    pub fn start() -> Result<Self, ServerError> {
        Self::throwaway(&ServerSettings::default())
    }

    /// Returns the server that all tests of this process share.
    ///
    /// If `EMMETT_TEST_DATABASE_URL` is set, it is the server named there. That server has to accept connections
    /// without TLS, and its user needs the right to create databases. Otherwise the first call starts a throwaway
    /// server.
    ///
    /// ```no_run
    /// use emmett_postgresql::testing::Server;
    ///
    /// let database = Server::shared()?.create_database()?;
    /// let mut client = database.client()?;
    /// # Ok::<(), emmett_postgresql::testing::ServerError>(())
    /// ```
    pub fn shared() -> Result<&'static Self, ServerError> {
        static SHARED: OnceLock<Server> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = STARTING.lock();
        if let Some(server) = SHARED.get() {
            return Ok(server);
        }
        let server = env::var("EMMETT_TEST_DATABASE_URL")
            .ok()
            .filter(|url| !url.is_empty())
            .map_or_else(Self::start, |url| Ok(Self::existing(url)))?;
        Ok(SHARED.get_or_init(|| server))
    }

    /// Returns the connection string of a database with this name, which need not exist.
    ///
    /// An example for a throwaway server is
    /// `postgresql:///orders?host=/tmp/emmett-1b2c&port=5432&user=postgres`. For an existing server, it is the value of
    /// `EMMETT_TEST_DATABASE_URL` with another database.
    pub fn url(&self, database: &str) -> String {
        with_database(&self.maintenance_url, database)
    }

    /// Returns the connection string for TCP, for example `postgresql://postgres@localhost:40713/orders`. Returns
    /// `None` unless this is a throwaway server that [listens on
    /// localhost](super::ServerBuilder::listen_on_localhost).
    pub fn localhost_url(&self, database: &str) -> Option<String> {
        self.localhost_port
            .map(|port| format!("postgresql://postgres@localhost:{port}/{database}"))
    }

    /// Creates an empty database with a unique name.
    pub fn create_database(&self) -> Result<Database, ServerError> {
        self.clone_database("template0")
    }

    /// Creates a database with a unique name as a copy of another one, which must have no connections.
    pub fn clone_database(&self, template: &str) -> Result<Database, ServerError> {
        let name = format!("emt_test_{:016x}", random_number());
        create_database(&mut self.maintenance_client()?, &name, template)?;
        let drop_through = self.maintenance_url.clone();
        Ok(Database::new(name.clone(), self.url(&name), drop_through))
    }

    /// Returns the name of a template database for [`clone_database`](Self::clone_database).
    ///
    /// The first call for a key creates the template. `prepare` receives its connection string, and must close its
    /// connections before it returns.
    ///
    /// The template is prepared once for each server and key, even if several threads ask at the same time, or several
    /// processes on an existing server. If it fails, the next call retries.
    ///
    /// On an existing server the template stays for the next run, so the key has to change with `prepare`. For example,
    /// include a checksum of the schema.
    ///
    /// ```no_run
    /// use emmett_postgresql::testing::Server;
    ///
    /// let server = Server::shared()?;
    /// let template = server.template("orders 1", |url| {
    ///     let mut client = postgres::Client::connect(url, postgres::NoTls)?;
    ///     Ok(client.batch_execute("CREATE TABLE orders (id bigint PRIMARY KEY)")?)
    /// })?;
    /// let database = server.clone_database(&template)?;
    /// # Ok::<(), emmett_postgresql::testing::ServerError>(())
    /// ```
    pub fn template(
        &self,
        key: &str,
        prepare: impl FnOnce(&str) -> Result<(), Box<dyn Error + Send + Sync>>,
    ) -> Result<String, ServerError> {
        let fingerprint = fingerprint(key);
        let name = format!("emt_template_{fingerprint:016x}");
        let unfinished = format!("emt_unfinished_{fingerprint:016x}");
        let mut client = self.maintenance_client()?;
        lock_until_disconnected(&mut client, fingerprint)?;
        if exists(&mut client, &name)? {
            return Ok(name);
        }
        drop_database(&mut client, &unfinished)?;
        create_database(&mut client, &unfinished, "template0")?;
        prepare(&self.url(&unfinished)).map_err(|source| not_prepared(key, source))?;
        // Rename last, so that a process that is killed while preparing leaves no incomplete template.
        rename_database(&mut client, &unfinished, &name)?;
        Ok(name)
    }

    /// Restarts the server as after a crash. It loses all connections and uncommitted transactions, recovers, and
    /// accepts connections again when this method returns.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotThrowaway`] for the server that `EMMETT_TEST_DATABASE_URL` names.
    pub fn restart_immediately(&self) -> Result<(), ServerError> {
        let process = self.process.as_ref().ok_or(ServerError::NotThrowaway)?;
        process.lock().restart_immediately()
    }

    pub(super) fn throwaway(settings: &ServerSettings) -> Result<Self, ServerError> {
        let process = ServerProcess::start(settings)?;
        let (directory, port) = (process.directory().display(), process.port());
        Ok(Self {
            maintenance_url: format!(
                "postgresql:///postgres?host={directory}&port={port}&user=postgres"
            ),
            localhost_port: settings.localhost.then_some(port),
            process: Some(Mutex::new(process)),
        })
    }

    fn existing(maintenance_url: String) -> Self {
        Self {
            maintenance_url,
            process: None,
            localhost_port: None,
        }
    }

    fn maintenance_client(&self) -> Result<Client, ServerError> {
        connect(&self.maintenance_url)
    }
}

impl fmt::Debug for Server {
    /// Omits the connection string, because it may contain a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

fn not_prepared(key: &str, source: Box<dyn Error + Send + Sync>) -> ServerError {
    ServerError::TemplateNotPrepared {
        key: key.to_owned(),
        source,
    }
}

fn fingerprint(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

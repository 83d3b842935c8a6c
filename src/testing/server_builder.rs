use super::{Server, ServerError, server_settings::ServerSettings};

impl Server {
    /// Returns a builder for a throwaway server with other settings.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }
}

/// Settings of a throwaway [`Server`]. Created by [`Server::builder`].
///
/// ```no_run
/// use emmett_postgresql::testing::Server;
///
/// let server = Server::builder().durable(true).setting("max_connections", "300").start()?;
/// # Ok::<(), emmett_postgresql::testing::ServerError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ServerBuilder {
    settings: ServerSettings,
}

impl ServerBuilder {
    /// Whether commits wait for the disk, as in production. Benchmarks need it. Otherwise the server runs with `fsync`,
    /// `synchronous_commit` and `full_page_writes` off. Defaults to `false`.
    pub fn durable(mut self, durable: bool) -> Self {
        self.settings.durable = durable;
        self
    }

    /// Sets a parameter of `postgresql.conf`. It takes precedence over the settings of the other methods. Defaults to
    /// PostgreSQL's own settings with `max_connections` 200.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        let setting = (name.to_owned(), value.to_owned());
        self.settings.chosen.push(setting);
        self
    }

    /// Also listens on a free port of 127.0.0.1. See [`Server::localhost_url`]. Any user of this machine can then
    /// connect as superuser, without a password. Defaults to the socket only, in a directory that only its owner can
    /// enter.
    pub fn listen_on_localhost(mut self) -> Self {
        self.settings.localhost = true;
        self
    }

    /// Offers TLS with this certificate (or chain) and its key, both in PEM. Only connections to localhost can use
    /// it, so this includes [`listen_on_localhost`](Self::listen_on_localhost). Defaults to no TLS.
    pub fn ssl(mut self, certificate_pem: &str, key_pem: &str) -> Self {
        self.settings.certificate_and_key = Some((certificate_pem.to_owned(), key_pem.to_owned()));
        self.listen_on_localhost()
    }

    /// Creates and starts the server. It takes about a second, mostly for `initdb`.
    pub fn start(&self) -> Result<Server, ServerError> {
        Server::throwaway(&self.settings)
    }
}

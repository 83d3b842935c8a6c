use super::{Server, ServerError, directory::Directory};
use std::io;

const NOT_DURABLE: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

/// Settings of a throwaway [`Server`]; made by [`Server::builder`].
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
    pub(super) localhost: bool,
    durable: bool,
    certificate_and_key: Option<(String, String)>,
    settings: Vec<(String, String)>,
}

impl ServerBuilder {
    /// Whether a commit waits for the disk, as in production: what a benchmark has to measure.
    /// Without it, the server runs with `fsync`, `synchronous_commit` and `full_page_writes` off.
    /// Defaults to `false`.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// One setting of `postgresql.conf`; it wins over those that the other methods make. Defaults
    /// to PostgreSQL's own settings with `max_connections` 200.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Listens on a free port of 127.0.0.1 too; see [`Server::localhost_url`]. Any user of this
    /// machine can then connect as superuser, without a password. Defaults to the socket alone, in
    /// a directory that only its owner can enter.
    pub fn listen_on_localhost(mut self) -> Self {
        self.localhost = true;
        self
    }

    /// Offers TLS, with this certificate (or chain) and its key, both in PEM. Only connections to
    /// localhost can use it, so this includes [`listen_on_localhost`](Self::listen_on_localhost).
    /// Defaults to no TLS.
    pub fn ssl(mut self, certificate_pem: &str, key_pem: &str) -> Self {
        self.certificate_and_key = Some((certificate_pem.to_owned(), key_pem.to_owned()));
        self.listen_on_localhost()
    }

    /// Creates and starts the server. It takes about a second, most of it for `initdb`.
    pub fn start(&self) -> Result<Server, ServerError> {
        Server::throwaway(self)
    }

    pub(super) fn write_files(&self, directory: &Directory, port: u16) -> io::Result<()> {
        if let Some((certificate, key)) = &self.certificate_and_key {
            directory.write("server.crt", certificate)?;
            directory.write("server.key", key)?;
        }
        let settings = self.all_settings(&directory.path().to_string_lossy(), port);
        let lines = settings
            .iter()
            .map(|(name, value)| format!("{name} = '{}'\n", escape(value)));
        directory.write("settings", &lines.collect::<String>())
    }

    fn all_settings(&self, directory: &str, port: u16) -> Vec<(String, String)> {
        let port = port.to_string();
        let addresses = if self.localhost { "127.0.0.1" } else { "" };
        let mut settings = vec![
            ("unix_socket_directories", directory),
            ("listen_addresses", addresses),
            ("port", &port),
            ("max_connections", "200"),
        ];
        if !self.durable {
            settings.extend(NOT_DURABLE.map(|name| (name, "off")));
        }
        if self.certificate_and_key.is_some() {
            settings.extend([
                ("ssl", "on"),
                ("ssl_cert_file", "../server.crt"),
                ("ssl_key_file", "../server.key"),
            ]);
        }
        let chosen = self.settings.iter().cloned();
        settings
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .chain(chosen)
            .collect()
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('\'', "''")
}

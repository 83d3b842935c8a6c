//! From a connection string to an open connection.
//!
//! A connection string means the same as in PostgreSQL's own programs. A parameter that is not supported is an error.
//!
//! The library ignores the environment: variables (`PGSSLMODE`, `PGSSLROOTCERT` and the others), the password file and
//! service files. It also ignores the client certificate and the revocation list in the home directory. Only the command
//! line reads some of these (`environment`). The one exception is `~/.postgresql/root.crt`, the default of `sslrootcert`.

mod connect_error;
mod connection_string;
#[cfg(feature = "cli")]
mod environment;
#[cfg(feature = "cli")]
mod environment_error;
#[cfg(test)]
mod fuzz;
#[cfg(feature = "cli")]
mod password_file;
#[cfg(feature = "cli")]
mod service_file;
mod sslmode;
#[cfg(feature = "tls")]
mod tls;

use super::driver_error::reason;
use connection_string::{Parameters, invalid_value};
use postgres::config::{LoadBalanceHosts, SslMode as DriverSslMode};
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};
use sslmode::{Encryption, SslMode};
use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

pub use connect_error::ConnectError;
pub use connection_string::ConnectionStringError;
pub(crate) use connection_string::with_database;
#[cfg(feature = "cli")]
pub(crate) use environment::{Environment, complete};

/// Settings of a connection unless the string has others.
const DEFAULTS: [(&str, &str); 4] = [
    ("application_name", "emmett"),
    ("connect_timeout", "10"),
    ("keepalives_idle", "30"),
    ("keepalives_interval", "10"),
];
const READ_COMMITTED: &str = r"-c default_transaction_isolation=read\ committed";
const DEFAULT_KEEPALIVES_COUNT: u32 = 3;
const DEFAULT_TCP_USER_TIMEOUT_MILLISECONDS: u32 = 30_000;

/// Values that request the built-in behaviour.
const ALREADY_SO: [(&str, &[&str]); 3] = [
    ("client_encoding", &["UTF8", "utf8", "UTF-8", "utf-8"]),
    ("gssencmode", &["disable", "prefer"]),
    ("sslsni", &["1"]),
];

const NO_HOST: ConnectionStringError = ConnectionStringError::Contradiction {
    reason: "`host` is missing: for a server on this machine, use `localhost` or the directory of its socket",
};
const NO_HOST_NAME: ConnectionStringError = ConnectionStringError::Contradiction {
    reason: "`sslmode=verify-full` checks the host's name: add `host` to `hostaddr`",
};
const UNEVEN_LISTS: ConnectionStringError = ConnectionStringError::Contradiction {
    reason: "`host`, `hostaddr` and `port` list different numbers of servers",
};

/// A possible reason for a refusal, and the next step.
const LACKS_TLS: &str = if cfg!(feature = "tls") {
    "if the server requires TLS, remove `sslmode=disable`"
} else {
    "if the server requires TLS, enable the feature `tls`: this build has no TLS support"
};

/// One or more alternative servers, and the settings of a connection.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// All settings except hosts, ports and encryption.
    config: Config,
    hosts: Vec<Host>,
    encryption: Encryption,
    #[cfg(feature = "tls")]
    connector: tls::KeptConnector,
}

impl Endpoint {
    /// Parses a connection string in either format: `postgresql://...` or `host=... dbname=...`.
    pub(crate) fn parse(connection_string: &str) -> Result<Self, ConnectionStringError> {
        let mut parameters = Parameters::parse(connection_string)?;
        let hosts = Host::take_from(&mut parameters)?;
        let encryption = Encryption::take_from(&mut parameters)?;
        if encryption.mode == SslMode::VerifyFull && hosts.iter().any(|host| host.name.is_empty()) {
            return Err(NO_HOST_NAME);
        }
        Ok(Self {
            config: config(parameters)?,
            hosts,
            encryption,
            #[cfg(feature = "tls")]
            connector: tls::KeptConnector::default(),
        })
    }

    /// Connects to the first suitable host that can be reached.
    pub(crate) fn connect(&self) -> Result<Client, ConnectError> {
        self.connect_by(&self.config)
    }

    /// Connects with READ COMMITTED as the session's default, whatever the role's default is. It is set at the session's
    /// start, which a pooler either refuses or ignores. A `SET` would affect the sessions of others behind the pooler.
    pub(crate) fn connect_at_read_committed(&self) -> Result<Client, ConnectError> {
        let mut config = self.config.clone();
        let options = [config.get_options().unwrap_or_default(), READ_COMMITTED].join(" ");
        config.options(options.trim_start());
        self.connect_by(&config)
    }

    fn connect_by(&self, config: &Config) -> Result<Client, ConnectError> {
        let mut failures = Failures::default();
        for host in self.hosts_in_order() {
            let transports = self.transports(host)?;
            for transport in &transports {
                match attempt(config.clone(), host, transport) {
                    Ok(client) => return Ok(client),
                    Err(error) => failures.add(host, transport, error),
                }
                if !failures.last().is_some_and(depends_on_transport) {
                    break;
                }
            }
            if failures.last().is_some_and(is_refusal) {
                break;
            }
        }
        if self.may_lack_tls(&failures) {
            failures.messages.push(LACKS_TLS.to_owned());
        }
        Err(failures.into())
    }

    /// Whether the server may have refused the connection because it was not encrypted. The refusal's code does not tell.
    fn may_lack_tls(&self, failures: &Failures) -> bool {
        let is_tried = cfg!(feature = "tls") && self.encryption.mode != SslMode::Disable;
        let refusals = [
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            SqlState::PROTOCOL_VIOLATION,
        ];
        let code = failures.last().and_then(postgres::Error::code);
        !is_tried
            && !self.hosts.iter().all(Host::is_socket)
            && code.is_some_and(|code| refusals.contains(code))
    }

    /// Returns database, hosts, ports and user, without the password.
    pub(crate) fn describe(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(ToString::to_string).collect();
        let database = self.config.get_dbname().map_or_else(
            || "the user's database".to_owned(),
            |name| format!("database \"{name}\""),
        );
        let user = self.config.get_user().map_or_else(
            || "the operating system's user".to_owned(),
            |name| format!("user \"{name}\""),
        );
        format!("{database} on {} as {user}", hosts.join(", "))
    }

    fn hosts_in_order(&self) -> Vec<&Host> {
        let mut hosts: Vec<_> = self.hosts.iter().collect();
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            hosts.sort_by_cached_key(|_| RandomState::new().hash_one(()));
        }
        hosts
    }

    /// Returns the transports for a host, in the order in which they are tried.
    #[cfg(feature = "tls")]
    fn transports(&self, host: &Host) -> Result<Vec<Transport>, ConnectError> {
        let tls = |mode| {
            self.connector
                .get(&self.encryption)
                .map(|connector| Transport::Tls(mode, connector))
        };
        Ok(match self.encryption.mode {
            _ if host.is_socket() => vec![Transport::Plain],
            SslMode::Disable => vec![Transport::Plain],
            SslMode::Allow => vec![Transport::Plain, tls(DriverSslMode::Require)?],
            SslMode::Prefer => vec![tls(DriverSslMode::Prefer)?, Transport::Plain],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                vec![tls(DriverSslMode::Require)?]
            }
        })
    }

    /// Parsing refused a connection string that requires TLS.
    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as with TLS")]
    fn transports(&self, _host: &Host) -> Result<Vec<Transport>, ConnectError> {
        Ok(vec![Transport::Plain])
    }
}

fn attempt(
    mut config: Config,
    host: &Host,
    transport: &Transport,
) -> Result<Client, postgres::Error> {
    host.add_to(&mut config);
    match transport {
        Transport::Plain => config.ssl_mode(DriverSslMode::Disable).connect(NoTls),
        #[cfg(feature = "tls")]
        Transport::Tls(mode, connector) => config.ssl_mode(*mode).connect(connector.clone()),
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Endpoint")
            .field(&self.describe())
            .finish()
    }
}

/// A way to talk to a server: with or without encryption.
enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(DriverSslMode, postgres_native_tls::MakeTlsConnector),
}

#[derive(Clone)]
struct Host {
    /// A name, an address or the directory of a socket; empty if only `hostaddr` is given.
    name: String,
    address: Option<IpAddr>,
    port: u16,
}

impl Host {
    fn take_from(parameters: &mut Parameters) -> Result<Vec<Self>, ConnectionStringError> {
        let names = parameters.take_entries("host");
        let addresses = parameters.take_entries("hostaddr");
        let ports = parameters.take_entries("port");
        let count = names.len().max(addresses.len());
        if count == 0 {
            return Err(NO_HOST);
        }
        let fits = |entries: &[String]| [0, count].contains(&entries.len());
        if !fits(&names) || !fits(&addresses) || !(fits(&ports) || ports.len() == 1) {
            return Err(UNEVEN_LISTS);
        }
        let entry =
            |entries: &[String], index: usize| entries.get(index).cloned().unwrap_or_default();
        (0..count)
            .map(|index| {
                let port = if ports.len() == 1 { 0 } else { index };
                Self::new(
                    entry(&names, index),
                    &entry(&addresses, index),
                    &entry(&ports, port),
                )
            })
            .collect()
    }

    fn new(name: String, address: &str, port: &str) -> Result<Self, ConnectionStringError> {
        if name.is_empty() && address.is_empty() {
            return Err(NO_HOST);
        }
        let address = match address {
            "" => None,
            text => Some(text.parse().map_err(|_| invalid_value("hostaddr"))?),
        };
        let port = match port {
            "" => 5432,
            text => text.parse().map_err(|_| invalid_value("port"))?,
        };
        Ok(Self {
            name,
            address,
            port,
        })
    }

    fn is_socket(&self) -> bool {
        cfg!(unix) && self.address.is_none() && self.name.starts_with('/')
    }

    fn add_to(&self, config: &mut Config) {
        config.port(self.port);
        if let Some(address) = self.address {
            config.hostaddr(address);
        }
        match self.address {
            // The driver refuses TLS to a host without a name.
            Some(address) if self.name.is_empty() => config.host(&address.to_string()),
            _ => config.host(&self.name),
        };
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.address {
            Some(address) if self.name.is_empty() => Cow::from(address.to_string()),
            _ => Cow::from(&self.name),
        };
        match &*name {
            directory if self.is_socket() => {
                write!(formatter, "{directory}/.s.PGSQL.{}", self.port)
            }
            address if address.contains(':') => write!(formatter, "[{address}]:{}", self.port),
            name => write!(formatter, "{name}:{}", self.port),
        }
    }
}

#[derive(Default)]
struct Failures {
    messages: Vec<String>,
    errors: Vec<postgres::Error>,
}

impl Failures {
    fn add(&mut self, host: &Host, transport: &Transport, error: postgres::Error) {
        let how = match transport {
            #[cfg(feature = "tls")]
            Transport::Tls(DriverSslMode::Require, _) => " with TLS",
            _ => "",
        };
        let message = format!("{host}{how}: {}", reason(&error));
        if self.messages.last() != Some(&message) {
            self.messages.push(message);
        }
        self.errors.push(error);
    }

    fn last(&self) -> Option<&postgres::Error> {
        self.errors.last()
    }
}

impl From<Failures> for ConnectError {
    fn from(failures: Failures) -> Self {
        Self::Failed {
            message: failures.messages.join("; "),
            errors: failures.errors,
        }
    }
}

/// Whether an attempt with the other transport may have another outcome.
fn depends_on_transport(error: &postgres::Error) -> bool {
    let same_with_any = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::CANNOT_CONNECT_NOW,
    ];
    match error.code() {
        Some(code) => !same_with_any.contains(code),
        #[cfg(feature = "tls")]
        None => tls::is_handshake_failure(error),
        #[cfg(not(feature = "tls"))]
        None => false,
    }
}

/// Whether a server was reached and refused: libpq then does not try the other hosts either.
fn is_refusal(error: &postgres::Error) -> bool {
    error
        .code()
        .is_some_and(|code| *code != SqlState::CANNOT_CONNECT_NOW)
}

/// Builds the driver's settings from the remaining parameters.
fn config(mut parameters: Parameters) -> Result<Config, ConnectionStringError> {
    for (name, values) in ALREADY_SO {
        if parameters
            .take(name)
            .is_some_and(|value| !values.contains(&value.as_str()))
        {
            return Err(invalid_value(name));
        }
    }
    for (name, value) in DEFAULTS {
        parameters.set_default(name, value);
    }
    // The driver reads these as seconds.
    let tcp_user_timeout = take_number(&mut parameters, "tcp_user_timeout")?;
    // The names in libpq and in the driver.
    let keepalives_count = take_number(&mut parameters, "keepalives_count")?
        .or(take_number(&mut parameters, "keepalives_retries")?);
    let mut config = driver_config(parameters)?;
    let tcp_user_timeout = tcp_user_timeout.unwrap_or(DEFAULT_TCP_USER_TIMEOUT_MILLISECONDS);
    if tcp_user_timeout > 0 {
        config.tcp_user_timeout(Duration::from_millis(tcp_user_timeout.into()));
    }
    let keepalives_count = keepalives_count.unwrap_or(DEFAULT_KEEPALIVES_COUNT);
    if keepalives_count > 0 {
        config.keepalives_retries(keepalives_count);
    }
    Ok(config)
}

fn take_number(
    parameters: &mut Parameters,
    name: &str,
) -> Result<Option<u32>, ConnectionStringError> {
    let number = parameters.take(name).map(|text| text.parse());
    number.transpose().map_err(|_| invalid_value(name))
}

fn driver_config(parameters: Parameters) -> Result<Config, ConnectionStringError> {
    let mut settings = String::new();
    for (name, value) in parameters {
        if value.is_empty() && ["dbname", "password", "user"].contains(&&*name) {
            continue;
        }
        let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
        let setting = format!("{name}='{escaped}' ");
        // One setting at a time, because the driver's error does not name the setting.
        if setting.parse::<Config>().is_err() {
            return Err(invalid_value(&name));
        }
        settings.push_str(&setting);
    }
    settings.parse().map_err(|_| invalid_value("options"))
}

#[cfg(test)]
mod tests;

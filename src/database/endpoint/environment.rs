//! Completes the command line's connection string as PostgreSQL's own programs do. The sources are a service file,
//! environment variables, the password file and the default host. The library does not complete connection strings.

use super::connection_string::{ConnectionStringError, Parameters};
use super::environment_error::EnvironmentError;
use super::password_file::{self, Login};
use super::{Endpoint, service_file};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Environment variables that set parameters.
const VARIABLES: [(&str, &str); 19] = [
    ("PGAPPNAME", "application_name"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGDATABASE", "dbname"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGOPTIONS", "options"),
    ("PGPASSFILE", "passfile"),
    ("PGPASSWORD", "password"),
    ("PGPORT", "port"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLSNI", "sslsni"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGUSER", "user"),
];

/// Environment variables that restrict the accepted servers in ways that this program does not support.
const UNSUPPORTED: [&str; 6] = [
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGSSLCERTMODE",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLMINPROTOCOLVERSION",
];

/// Default directories of servers' sockets.
const SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
const DEFAULT_PORT: &str = "5432";
const LOCALHOST: &str = "localhost";

/// Source of variables and files.
pub(crate) struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    home: Option<PathBuf>,
    /// The operating system's user.
    user: &'a dyn Fn() -> Option<String>,
}

impl Environment<'_> {
    pub(crate) fn of_process() -> Self {
        Self {
            variable: &|name| std::env::var_os(name),
            home: std::env::home_dir(),
            user: &|| whoami::username().ok(),
        }
    }

    /// Returns a variable. An empty one counts as unset.
    fn get(&self, variable: &'static str) -> Result<Option<String>, EnvironmentError> {
        let value = (self.variable)(variable).map(OsString::into_string);
        let value = value
            .transpose()
            .map_err(|_| EnvironmentError::NotText { variable })?;
        Ok(value.filter(|value| !value.is_empty()))
    }

    fn in_home(&self, unix: &str, windows: &str) -> Option<PathBuf> {
        if cfg!(windows) {
            let data = (self.variable)("APPDATA")?;
            return Some(Path::new(&data).join("postgresql").join(windows));
        }
        Some(self.home.as_ref()?.join(unix))
    }

    /// Returns the service files in search order. A file named by a variable has to exist.
    fn service_files(&self) -> Result<Vec<PathBuf>, EnvironmentError> {
        let system = self.get("PGSYSCONFDIR")?;
        let system = system.as_deref().unwrap_or("/etc/postgresql-common");
        let system = Path::new(system).join("pg_service.conf");
        let own = match self.get("PGSERVICEFILE")? {
            Some(named) => Some(named.into()),
            None => self
                .in_home(".pg_service.conf", ".pg_service.conf")
                .filter(|path| path.exists()),
        };
        let system = Some(system).filter(|path| path.exists());
        Ok(own.into_iter().chain(system).collect())
    }
}

/// A complete connection string, and remarks for the user.
pub(crate) struct Completed {
    pub(crate) connection_string: String,
    pub(crate) remarks: Vec<String>,
}

/// Completes a connection string, or builds one from the environment. Returns `None` if nothing names a database.
pub(crate) fn complete(
    given: Option<&str>,
    environment: &Environment<'_>,
) -> Result<Option<Completed>, EnvironmentError> {
    let parameters = match given.map(Parameters::parse_with_lookups).transpose() {
        Ok(parameters) => parameters.unwrap_or_default(),
        // The caller that uses the string reports the error.
        Err(_) => return Ok(given.map(Completed::unchanged)),
    };
    let mut completion = Completion {
        parameters,
        origins: BTreeMap::new(),
    };
    refuse_unsupported(environment)?;
    let service = completion.add_service(environment)?;
    completion.add_variables(environment)?;
    if given.is_none() && !service && !completion.names_a_database() {
        return Ok(None);
    }
    completion.add_host();
    let remarks = completion.add_password(environment)?;
    completion.finish(given.is_some(), remarks).map(Some)
}

impl Completed {
    fn unchanged(given: &str) -> Self {
        Self {
            connection_string: given.to_owned(),
            remarks: Vec::new(),
        }
    }
}

fn refuse_unsupported(environment: &Environment<'_>) -> Result<(), EnvironmentError> {
    for variable in UNSUPPORTED {
        if environment.get(variable)?.is_some() {
            return Err(EnvironmentError::UnsupportedVariable { variable });
        }
    }
    Ok(())
}

struct Completion {
    parameters: Parameters,
    /// Origin of each parameter that the connection string does not have.
    origins: BTreeMap<String, String>,
}

impl Completion {
    fn add(&mut self, name: &str, value: String, origin: &str) -> Result<(), EnvironmentError> {
        if self.parameters.get(name).is_some() {
            return Ok(());
        }
        self.origins.insert(name.to_owned(), origin.to_owned());
        self.parameters
            .insert(name, value)
            .map_err(|source| EnvironmentError::Invalid {
                origin: origin.to_owned(),
                source,
            })
    }

    /// Adds the parameters of the service. Returns whether a service was named.
    fn add_service(&mut self, environment: &Environment<'_>) -> Result<bool, EnvironmentError> {
        let named = self.parameters.take_filled("service");
        let Some(service) =
            named.map_or_else(|| environment.get("PGSERVICE"), |name| Ok(Some(name)))?
        else {
            return Ok(false);
        };
        let files = environment.service_files()?;
        for file in &files {
            if let Some(parameters) = service_file::read(file, &service)? {
                let origin = format!("service \"{service}\" in {}", file.display());
                for (name, value) in parameters {
                    self.add(&name, value, &origin)?;
                }
                return Ok(true);
            }
        }
        let looked_in: Vec<_> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        Err(EnvironmentError::NoService {
            service,
            looked_in: if looked_in.is_empty() {
                "~/.pg_service.conf, which does not exist; PGSERVICEFILE names another file"
                    .to_owned()
            } else {
                looked_in.join(" and ")
            },
        })
    }

    fn add_variables(&mut self, environment: &Environment<'_>) -> Result<(), EnvironmentError> {
        for (variable, name) in VARIABLES {
            if let Some(value) = environment.get(variable)? {
                self.add(name, value, &format!("environment variable {variable}"))?;
            }
        }
        // The variable's older form.
        let requires = environment.get("PGREQUIRESSL")?;
        if requires.is_some_and(|value| value.starts_with('1')) {
            self.add(
                "sslmode",
                "require".to_owned(),
                "environment variable PGREQUIRESSL",
            )?;
        }
        Ok(())
    }

    fn filled(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).filter(|value| !value.is_empty())
    }

    fn names_a_database(&self) -> bool {
        let mut names = ["host", "hostaddr", "dbname"].into_iter();
        names.any(|name| self.filled(name).is_some())
    }

    /// Adds the server of this machine if no host was named.
    fn add_host(&mut self) {
        if self.filled("host").is_some() || self.filled("hostaddr").is_some() {
            return;
        }
        let port = self.filled("port").unwrap_or(DEFAULT_PORT);
        let socket = format!(".s.PGSQL.{port}");
        let is_there = |directory: &&str| cfg!(unix) && Path::new(directory).join(&socket).exists();
        let host = SOCKETS.into_iter().find(is_there).unwrap_or(LOCALHOST);
        self.parameters.set("host", host);
    }

    /// Adds the password from the password file, and returns a remark about the file, if any.
    fn add_password(
        &mut self,
        environment: &Environment<'_>,
    ) -> Result<Vec<String>, EnvironmentError> {
        let named = self.parameters.take_filled("passfile").map(PathBuf::from);
        let Some(path) = named.or_else(|| environment.in_home(".pgpass", "pgpass.conf")) else {
            return Ok(Vec::new());
        };
        if self.filled("password").is_some() {
            return Ok(Vec::new());
        }
        match password_file::read(&path) {
            Ok(Some(text)) => self.add_password_of(&text, &path, environment)?,
            Ok(None) => {}
            Err(reason) => {
                let file = path.display();
                return Ok(vec![format!(
                    "the password file {file} is not used: {reason}"
                )]);
            }
        }
        Ok(Vec::new())
    }

    fn add_password_of(
        &mut self,
        text: &str,
        path: &Path,
        environment: &Environment<'_>,
    ) -> Result<(), EnvironmentError> {
        let user = self.filled("user").map(str::to_owned);
        let Some(user) = user.or_else(|| (environment.user)()) else {
            return Ok(());
        };
        let database = self.filled("dbname").unwrap_or(&user);
        let mut passwords = self.servers().into_iter().map(|(host, port)| {
            let login = Login {
                host,
                port,
                database,
                user: &user,
            };
            password_file::password(text, &login)
        });
        let first = passwords.next().flatten();
        // A server must not get the password of another.
        if passwords.any(|other| other != first) {
            let path = path.to_owned();
            return Err(EnvironmentError::DifferentPasswords { path });
        }
        if let Some(password) = first {
            self.parameters.set("password", &password);
        }
        Ok(())
    }

    /// Returns hosts and ports as the password file names them.
    fn servers(&self) -> Vec<(&str, &str)> {
        let entries =
            |name| -> Vec<&str> { self.filled(name).unwrap_or_default().split(',').collect() };
        let (hosts, addresses, ports) = (entries("host"), entries("hostaddr"), entries("port"));
        (0..hosts.len().max(addresses.len()))
            .map(|index| {
                let port = ports.get(if ports.len() == 1 { 0 } else { index });
                let host = filled_entry(&hosts, index).or_else(|| filled_entry(&addresses, index));
                (
                    host.filter(|host| !SOCKETS.contains(host))
                        .unwrap_or(LOCALHOST),
                    port.copied()
                        .filter(|port| !port.is_empty())
                        .unwrap_or(DEFAULT_PORT),
                )
            })
            .collect()
    }

    /// Returns all parameters as a list. Parameters from the environment must already be valid.
    fn finish(self, is_given: bool, remarks: Vec<String>) -> Result<Completed, EnvironmentError> {
        let Self {
            parameters,
            origins,
        } = self;
        let connection_string = parameters.to_list();
        let Err(error) = Endpoint::parse(&connection_string) else {
            return Ok(Completed {
                connection_string,
                remarks,
            });
        };
        let origin = parameter(&error).and_then(|name| origins.get(name).cloned());
        match origin {
            Some(origin) => Err(EnvironmentError::Invalid {
                origin,
                source: error,
            }),
            None if !is_given || parameter(&error).is_none() && !origins.is_empty() => {
                Err(EnvironmentError::Invalid {
                    origin: "the connection, completed from the environment".to_owned(),
                    source: error,
                })
            }
            None => Ok(Completed {
                connection_string,
                remarks,
            }),
        }
    }
}

fn filled_entry<'a>(entries: &[&'a str], index: usize) -> Option<&'a str> {
    entries
        .get(index)
        .copied()
        .filter(|entry| !entry.is_empty())
}

fn parameter(error: &ConnectionStringError) -> Option<&str> {
    match error {
        ConnectionStringError::Quoting { parameter }
        | ConnectionStringError::UnsupportedParameter { parameter }
        | ConnectionStringError::InvalidValue { parameter, .. } => Some(parameter),
        ConnectionStringError::NoTlsSupport { parameter } => Some(parameter),
        ConnectionStringError::Malformed { .. } | ConnectionStringError::Contradiction { .. } => {
            None
        }
    }
}

#[cfg(test)]
mod tests;

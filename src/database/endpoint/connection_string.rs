//! Connection strings, parsed as PostgreSQL's own programs parse them.

use std::collections::BTreeMap;

const SECONDS: &str = "a whole number of seconds";

/// Every supported parameter, and the values that it accepts.
const PARAMETERS: [(&str, &str); 27] = [
    ("application_name", "a text"),
    ("channel_binding", "`disable`, `prefer` or `require`"),
    ("client_encoding", "`UTF8`"),
    ("connect_timeout", SECONDS),
    ("dbname", "a text"),
    ("gssencmode", "`disable` or `prefer`"),
    ("host", "host names or socket directories"),
    ("hostaddr", "IP addresses, separated by commas"),
    ("keepalives", "`0` or `1`"),
    ("keepalives_count", "a whole number"),
    ("keepalives_idle", SECONDS),
    ("keepalives_interval", SECONDS),
    ("keepalives_retries", "a whole number"),
    ("load_balance_hosts", "`disable` or `random`"),
    ("options", "a text"),
    ("passfile", "the name of a file"),
    ("password", "a text"),
    ("port", "port numbers, separated by commas"),
    ("service", "the name of a service"),
    ("sslcert", "the name of a file"),
    ("sslkey", "the name of a file"),
    (
        "sslmode",
        "`disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`",
    ),
    ("sslrootcert", "the name of a file, or `system`"),
    ("sslsni", "`1`"),
    ("target_session_attrs", "`any`, `read-write` or `read-only`"),
    ("tcp_user_timeout", "a whole number of milliseconds"),
    ("user", "a text"),
];

/// Parameters that name a file or a service to look up; only the command line supports them.
const LOOKUPS: [&str; 2] = ["passfile", "service"];

const NEITHER_FORM: ConnectionStringError = ConnectionStringError::Malformed {
    reason: "it is neither a URL, such as `postgresql://user@host/database`, nor a list, such as `host=... dbname=...`",
};
const NO_PAIR: ConnectionStringError = ConnectionStringError::Malformed {
    reason: "after the `?` of a URL, write each parameter as `name=value`",
};
const MISPLACED_AT: ConnectionStringError = ConnectionStringError::Malformed {
    reason: "it has an `@` in the wrong place; in a user name or a password, write `@` as `%40` and `/` as `%2F`",
};

/// Why a connection string cannot be used.
///
/// Messages name parameters but show no values: with an unescaped password, any value may be a part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionStringError {
    /// The string has neither of the two formats.
    #[error("the connection string cannot be read: {reason}")]
    #[non_exhaustive]
    Malformed {
        /// The reason.
        reason: &'static str,
    },
    /// The value is followed by text that is not a parameter, or its quote is not closed.
    #[error(
        "the value of `{parameter}` ends in the wrong place: enclose it in '...', and put a \\ before each ' and \\ in it"
    )]
    #[non_exhaustive]
    Quoting {
        /// The parameter's name.
        parameter: String,
    },
    /// The parameter does not exist, or this crate does not support it.
    #[error("`{parameter}` is not a connection parameter that this crate supports")]
    #[non_exhaustive]
    UnsupportedParameter {
        /// The parameter's name.
        parameter: String,
    },
    /// The parameter does not accept this value.
    #[error("the connection parameter `{parameter}` must be {expected}")]
    #[non_exhaustive]
    InvalidValue {
        /// The parameter's name.
        parameter: String,
        /// The values that it accepts.
        expected: &'static str,
    },
    /// A parameter is missing, or contradicts another one.
    #[error("{reason}")]
    #[non_exhaustive]
    Contradiction {
        /// The contradiction.
        reason: &'static str,
    },
    /// The parameter needs TLS, and the crate was built without it.
    #[error("`{parameter}` needs TLS, and this build has no TLS support: enable the feature `tls`")]
    #[non_exhaustive]
    NoTlsSupport {
        /// The parameter's name.
        parameter: &'static str,
    },
}

/// The parameters of a connection string. The last of several with the same name wins.
#[derive(Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    pub(super) fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let parameters = Self::parse_with_lookups(text)?;
        match LOOKUPS
            .iter()
            .find(|name| parameters.0.contains_key(**name))
        {
            Some(name) => Err(unsupported(name)),
            None => Ok(parameters),
        }
    }

    /// Parses it with the parameters that name a service file or a password file.
    pub(super) fn parse_with_lookups(text: &str) -> Result<Self, ConnectionStringError> {
        let text = text.trim_ascii_start();
        if text.is_empty() {
            return Err(ConnectionStringError::Malformed {
                reason: "it is empty",
            });
        }
        match Url::split(text) {
            Some(url) => url.parse(),
            None => parse_list(text),
        }
    }

    /// Removes a parameter.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Removes a parameter whose empty value means none.
    pub(super) fn take_filled(&mut self, name: &str) -> Option<String> {
        self.take(name).filter(|value| !value.is_empty())
    }

    /// Removes a parameter and splits it at the commas.
    pub(super) fn take_entries(&mut self, name: &str) -> Vec<String> {
        let list = self.take_filled(name).unwrap_or_default();
        let entries = list.split(',').map(str::to_owned);
        entries.filter(|_| !list.is_empty()).collect()
    }

    pub(super) fn set_default(&mut self, name: &str, value: &str) {
        self.0
            .entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }

    #[cfg(feature = "cli")]
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    #[cfg(feature = "cli")]
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// Returns a connection string with all parameters.
    pub(super) fn to_list(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| {
            let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
            format!("{name}='{escaped}'")
        });
        pairs.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn insert(
        &mut self,
        name: &str,
        value: String,
    ) -> Result<(), ConnectionStringError> {
        check_name(name)?;
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    fn insert_encoded(&mut self, name: &str, value: &str) -> Result<(), ConnectionStringError> {
        // Before the value: what stands at the place of a name may be a part of a password.
        check_name(name)?;
        let decoded = percent_decode(value).ok_or_else(|| ConnectionStringError::InvalidValue {
            parameter: name.to_owned(),
            expected: "UTF-8 text in percent-encoding, with `%` itself written as `%25`",
        })?;
        self.insert(name, decoded)
    }
}

impl IntoIterator for Parameters {
    type Item = (String, String);
    type IntoIter = std::collections::btree_map::IntoIter<String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

fn check_name(name: &str) -> Result<(), ConnectionStringError> {
    expected(name).map_or_else(|| Err(unsupported(name)), |_| Ok(()))
}

fn unsupported(name: &str) -> ConnectionStringError {
    ConnectionStringError::UnsupportedParameter {
        parameter: name.to_owned(),
    }
}

fn quoting(name: &str) -> ConnectionStringError {
    ConnectionStringError::Quoting {
        parameter: name.to_owned(),
    }
}

pub(super) fn invalid_value(name: &str) -> ConnectionStringError {
    ConnectionStringError::InvalidValue {
        parameter: name.to_owned(),
        expected: expected(name).unwrap_or("valid"),
    }
}

fn expected(name: &str) -> Option<&'static str> {
    let found = PARAMETERS.iter().find(|(known, _)| *known == name);
    found.map(|(_, expected)| *expected)
}

fn parse_list(text: &str) -> Result<Parameters, ConnectionStringError> {
    let mut parameters = Parameters::default();
    let mut previous: Option<String> = None;
    let mut rest = text;
    while !rest.is_empty() {
        let misread = || previous.as_deref().map_or(NEITHER_FORM, quoting);
        let (name, after) = split_name(rest).ok_or_else(misread)?;
        if previous.as_deref() == Some("password") && expected(name).is_none() {
            // A word that looks like a parameter's name may be the second word of a password.
            return Err(misread());
        }
        let (value, tail) = read_value(after).ok_or_else(|| quoting(name))?;
        parameters.insert(name, value)?;
        previous = Some(name.to_owned());
        rest = tail;
    }
    Ok(parameters)
}

/// Splits the text into the name before the next `=`, and the rest.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.split_once('=')?;
    let name = name.trim_ascii_end();
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    (!name.is_empty() && name.chars().all(is_name)).then(|| (name, after.trim_ascii_start()))
}

/// Splits the text into a value and the rest. Returns `None` if the value's quote is not closed.
fn read_value(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let mut letters = quoted.unwrap_or(text).chars();
    let mut value = String::new();
    loop {
        match letters.next() {
            None if quoted.is_some() => return None,
            None => break,
            Some('\'') if quoted.is_some() => break,
            Some(letter) if quoted.is_none() && letter.is_ascii_whitespace() => break,
            Some('\\') => value.extend(letters.next()),
            Some(letter) => value.push(letter),
        }
    }
    Some((value, letters.as_str().trim_ascii_start()))
}

/// The parts of a connection string in URL form, not yet decoded.
struct Url<'a> {
    scheme: &'a str,
    credentials: Option<&'a str>,
    hosts: &'a str,
    database: &'a str,
    query: &'a str,
}

impl<'a> Url<'a> {
    fn split(text: &'a str) -> Option<Self> {
        let schemes = ["postgresql://", "postgres://"];
        let scheme = schemes.iter().find(|scheme| text.starts_with(**scheme))?;
        let (scheme, url) = text.trim_ascii_end().split_at(scheme.len());
        let authority = url.split('/').next().unwrap_or_default();
        let (credentials, location) = match authority.find('@') {
            Some(at) => (Some(&url[..at]), &url[at + 1..]),
            None => (None, url),
        };
        let (place, query) = location.split_once('?').unwrap_or((location, ""));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        Some(Self {
            scheme,
            credentials,
            hosts,
            database,
            query,
        })
    }

    fn parse(&self) -> Result<Parameters, ConnectionStringError> {
        if self.hosts.contains('@') || self.database.contains('@') {
            return Err(MISPLACED_AT);
        }
        let mut parameters = Parameters::default();
        let credentials = self.credentials.unwrap_or_default();
        insert_credentials(&mut parameters, credentials)?;
        insert_place(&mut parameters, self.hosts, self.database)?;
        match insert_query(&mut parameters, self.query) {
            // Text that looks like a parameter may be a part of a password that contains `/` and `?`.
            Err(_) if credentials.is_empty() && self.query.contains('@') => Err(MISPLACED_AT),
            result => result.map(|()| parameters),
        }
    }
}

impl std::fmt::Display for Url<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.scheme)?;
        if let Some(credentials) = self.credentials {
            write!(formatter, "{credentials}@")?;
        }
        write!(formatter, "{}/{}", self.hosts, self.database)?;
        if !self.query.is_empty() {
            write!(formatter, "?{}", self.query)?;
        }
        Ok(())
    }
}

/// Returns the connection string with another database, in either format. In a list, the last `dbname` wins. An unreadable one is
/// returned as it is: connecting with it reports the reason.
pub(crate) fn with_database(text: &str, database: &str) -> String {
    let Some(url) = Url::split(text.trim_ascii_start()) else {
        return list_with_database(text, database).unwrap_or_else(|_| text.to_owned());
    };
    let parameters = url.query.split('&');
    let kept: Vec<&str> = parameters
        .filter(|parameter| !parameter.is_empty() && !parameter.starts_with("dbname="))
        .collect();
    let mut query = kept.join("&");
    // At the end of the text, white space is no part of a value.
    if query.ends_with(|last: char| last.is_ascii_whitespace()) {
        query.push('&');
    }
    let url = Url {
        database,
        query: &query,
        ..url
    };
    url.to_string()
}

/// Written anew, because what is appended to a list may become a part of its last value.
fn list_with_database(text: &str, database: &str) -> Result<String, ConnectionStringError> {
    let mut parameters = parse_list(text.trim_ascii_start())?;
    parameters.insert("dbname", database.to_owned())?;
    Ok(parameters.to_list())
}

fn insert_credentials(
    parameters: &mut Parameters,
    credentials: &str,
) -> Result<(), ConnectionStringError> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    for (name, value) in [("user", user), ("password", password)] {
        if !value.is_empty() {
            parameters.insert_encoded(name, value)?;
        }
    }
    Ok(())
}

/// Hosts, ports and database.
fn insert_place(
    parameters: &mut Parameters,
    hosts: &str,
    database: &str,
) -> Result<(), ConnectionStringError> {
    let hosts: Option<Vec<_>> = hosts.split(',').map(split_host).collect();
    let (hosts, ports): (Vec<_>, Vec<_>) = hosts
        .ok_or_else(|| invalid_value("host"))?
        .into_iter()
        .unzip();
    let (hosts, ports) = (hosts.join(","), ports.join(","));
    for (name, value) in [("host", &*hosts), ("port", &*ports), ("dbname", database)] {
        if !value.is_empty() {
            parameters.insert_encoded(name, value)?;
        }
    }
    Ok(())
}

/// Splits host and port. An IPv6 address is in brackets.
fn split_host(text: &str) -> Option<(&str, &str)> {
    let Some(bracketed) = text.strip_prefix('[') else {
        return Some(text.split_once(':').unwrap_or((text, "")));
    };
    match bracketed.split_once(']')? {
        (address, "") => Some((address, "")),
        (address, rest) => Some((address, rest.strip_prefix(':')?)),
    }
}

fn insert_query(parameters: &mut Parameters, query: &str) -> Result<(), ConnectionStringError> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(NO_PAIR)?;
        match (name, value) {
            // The form of JDBC's URLs, which libpq accepts too.
            ("ssl", "true") => parameters.insert("sslmode", "require".to_owned())?,
            _ => parameters.insert_encoded(name, value)?,
        }
    }
    Ok(())
}

fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hexadecimal(bytes.next()?)? << 4 | hexadecimal(bytes.next()?)?,
            _ => byte,
        });
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (!decoded.contains('\0')).then_some(decoded)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn another_database_replaces_the_one_in_a_connection_string() {
        for (given, expected) in [
            (
                "postgresql://ada:pw@db:5433/old",
                "postgresql://ada:pw@db:5433/new",
            ),
            (
                "postgres://db?sslmode=disable",
                "postgres://db/new?sslmode=disable",
            ),
            (
                "postgresql:///old?host=/tmp/x&dbname=old&port=1",
                "postgresql:///new?host=/tmp/x&port=1",
            ),
            (
                "postgres://db?password=a &dbname=old",
                "postgres://db/new?password=a &",
            ),
            ("host=/tmp/x dbname=old", "dbname='new' host='/tmp/x'"),
            (
                "host=/tmp/x password=a://b",
                "dbname='new' host='/tmp/x' password='a://b'",
            ),
        ] {
            assert_eq!(with_database(given, "new"), expected);
        }
        let settings: postgres::Config = with_database("host=/tmp/x dbname=old", "new")
            .parse()
            .unwrap();
        assert_eq!(settings.get_dbname(), Some("new"));
    }
}

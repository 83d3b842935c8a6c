//! Reasons why a connection string cannot be completed from the environment.

use super::connection_string::ConnectionStringError;
use std::path::PathBuf;

/// Messages name variables, files and lines but show no values: any value may be a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("the environment variable {variable} is not UTF-8 text")]
    NotText { variable: &'static str },
    #[error(
        "the environment variable {variable} is set, and this program does not support it: unset it"
    )]
    UnsupportedVariable { variable: &'static str },
    #[error("cannot read the service file {}: {source}", path.display())]
    ServiceFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("line {line} of the service file {}: {reason}", path.display())]
    ServiceLine {
        path: PathBuf,
        line: usize,
        reason: &'static str,
    },
    #[error("there is no service \"{service}\" in {looked_in}")]
    NoService { service: String, looked_in: String },
    #[error("{origin}: {source}")]
    Invalid {
        origin: String,
        source: ConnectionStringError,
    },
    #[error(
        "the password file {} has different passwords for these servers: name one server, or give `password`",
        path.display()
    )]
    DifferentPasswords { path: PathBuf },
}

//! Why no connection is opened.

use std::path::PathBuf;

/// Why no connection was opened.
///
/// The message contains its causes, because a pool keeps nothing else of an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No attempt led to a connection.
    #[error("{message}")]
    #[non_exhaustive]
    Failed {
        /// Each attempt and what happened.
        message: String,
        /// The errors of the attempts.
        errors: Vec<postgres::Error>,
    },
    /// A file with certificates or with a key cannot be used.
    #[error("cannot use {}, the file of `{parameter}`: {problem}", path.display())]
    #[non_exhaustive]
    Certificate {
        /// The connection parameter.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The system's TLS library does not accept the settings.
    #[error("cannot set up TLS: {problem}")]
    #[non_exhaustive]
    Tls {
        /// What the library said.
        problem: String,
    },
}

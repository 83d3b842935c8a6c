//! Reasons why no connection could be opened.

use std::path::PathBuf;

/// Why a connection could not be opened.
///
/// The message contains its causes, because a pool keeps only the text of an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// All attempts to connect failed.
    #[error("{message}")]
    #[non_exhaustive]
    Failed {
        /// Each attempt and its failure.
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
        /// The problem with it.
        problem: String,
    },
    /// The system's TLS library rejects the settings.
    #[error("cannot set up TLS: {problem}")]
    #[non_exhaustive]
    Tls {
        /// The library's message.
        problem: String,
    },
}

use std::{error::Error, io};

/// Errors of a [`Server`](super::Server).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// PostgreSQL's programs were not found. The message explains how to install them.
    #[error("PostgreSQL's programs (initdb, pg_ctl, postgres) are not in {looked_in}; {advice}")]
    #[non_exhaustive]
    ProgramsMissing {
        /// The searched places, in words.
        looked_in: String,
        /// Advice for installing the programs on this system.
        advice: &'static str,
    },
    /// The throwaway server could not be created, started or restarted.
    #[error("PostgreSQL did not start; its log ends with:\n{log}")]
    #[non_exhaustive]
    NotStarted {
        /// Last lines of the output of `initdb`, `pg_ctl` and the server.
        log: String,
    },
    /// The server was already running before this process (`EMMETT_TEST_DATABASE_URL`), so it cannot be restarted.
    #[error("the server that EMMETT_TEST_DATABASE_URL names cannot be restarted from here")]
    NotThrowaway,
    /// The closure that [`Server::template`](super::Server::template) received has failed.
    #[error("cannot prepare the template database for {key:?}")]
    #[non_exhaustive]
    TemplateNotPrepared {
        /// Key of the template.
        key: String,
        /// Error of the closure.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A connection or a statement failed.
    #[error("cannot {attempt}")]
    #[non_exhaustive]
    Database {
        /// The attempted operation.
        attempt: &'static str,
        /// Error of the database or its client.
        source: postgres::Error,
    },
    /// A file, a port or a process was not available.
    #[error("cannot {attempt}")]
    #[non_exhaustive]
    System {
        /// The attempted operation.
        attempt: &'static str,
        /// Error of the operating system.
        source: io::Error,
    },
}

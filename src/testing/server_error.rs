use std::{error::Error, io};

/// Why a [`Server`](super::Server) could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// PostgreSQL's programs are not where they were looked for. The message says how to install
    /// them.
    #[error("PostgreSQL's programs (initdb, pg_ctl, postgres) are not in {looked_in}; {advice}")]
    #[non_exhaustive]
    ProgramsMissing {
        /// The places, in words.
        looked_in: String,
        /// How to get the programs on this system.
        advice: &'static str,
    },
    /// The throwaway server could not be created, started or restarted.
    #[error("PostgreSQL did not start; its log ends with:\n{log}")]
    #[non_exhaustive]
    NotStarted {
        /// The last lines that `initdb`, `pg_ctl` and the server wrote.
        log: String,
    },
    /// The server ran before this process (`EMMETT_TEST_DATABASE_URL`), so it is not ours to restart.
    #[error("the server that EMMETT_TEST_DATABASE_URL names cannot be restarted from here")]
    NotThrowaway,
    /// What [`Server::template`](super::Server::template) was given to prepare the database with
    /// failed.
    #[error("cannot prepare the template database for {key:?}")]
    #[non_exhaustive]
    TemplateNotPrepared {
        /// The template's key.
        key: String,
        /// The failure.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A connection or a statement failed.
    #[error("cannot {attempt}")]
    #[non_exhaustive]
    Database {
        /// What was attempted.
        attempt: &'static str,
        /// What the database or its client said.
        source: postgres::Error,
    },
    /// A file, a port or a process could not be had.
    #[error("cannot {attempt}")]
    #[non_exhaustive]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

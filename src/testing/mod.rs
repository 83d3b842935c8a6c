//! Throwaway PostgreSQL servers for tests, databases on them, and specifications of decisions ([`given`]), of workflows
//! ([`given_workflow`]), of projections ([`ProjectionSpec`]) and of reactors ([`ConsumerSpec`]).
//!
//! [`Server::shared`] is one server for the whole test process. It starts with the first call, and listens only on a
//! socket in its own directory. It is stopped and removed when the process ends: normally, by a panic, by Ctrl-C or by
//! `kill -9`. Each test uses a new [`Database`] on it, so tests run in parallel without seeing each other.
//!
//! ```
//! use emmett_postgresql::testing::Server;
//!
//! let database = Server::shared()?.create_database()?;
//! let row = database.client()?.query_one("SELECT 1 + 1", &[])?;
//! assert_eq!(row.get::<_, i32>(0), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Choice of PostgreSQL
//!
//! PostgreSQL 13 or later is required. The first match is used:
//!
//! | Found | Used |
//! |---|---|
//! | `EMMETT_TEST_DATABASE_URL` | the running server that it names, by [`Server::shared`] only |
//! | `EMMETT_POSTGRES_BIN` | the programs (`initdb`, `pg_ctl`, `postgres`) in this directory |
//! | the system's packages | the highest version of Debian's, the PostgreSQL project's or Homebrew's |
//! | `initdb` on the `PATH` | its directory, after following symbolic links |
//!
//! `EMMETT_DATABASE_URL`, the database of the command line, is ignored, so that tests never use an operator's database.
//!
//! If no PostgreSQL is found, [`ServerError::ProgramsMissing`] explains how to install it on this system.

mod consumer_run;
mod consumer_spec;
mod database;
mod difference;
mod directory;
mod maintenance;
mod programs;
mod projection_spec;
mod server;
mod server_builder;
mod server_error;
mod server_process;
mod server_settings;
mod specification;
mod store;
mod workflow_specification;

pub use self::{
    consumer_run::ConsumerRun,
    consumer_spec::ConsumerSpec,
    database::Database,
    projection_spec::{InMemory, OnServer, ProjectionOutcome, ProjectionSpec},
    server::Server,
    server_builder::ServerBuilder,
    server_error::ServerError,
    specification::{Given, GivenStreams, Then, ThenReplied, given},
    store::database,
    workflow_specification::{GivenWorkflow, ThenDoes, given_workflow},
};

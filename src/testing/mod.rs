//! What tests need: a throwaway PostgreSQL server, and databases on it.
//!
//! [`Server::shared`] is one server for the whole test process. It starts with the first call,
//! listens only on a socket in a directory of its own, and is gone, with that directory, when the
//! process ends: normally, by a panic, by Ctrl-C or by `kill -9`. Each test takes a fresh
//! [`Database`] on it, so tests run side by side without seeing each other.
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
//! # Which PostgreSQL
//!
//! PostgreSQL 13 or later. The environment decides, in this order:
//!
//! | Found | Used |
//! |---|---|
//! | `EMMETT_TEST_DATABASE_URL` | by [`Server::shared`]: the running server that it names |
//! | `EMMETT_POSTGRES_BIN` | the programs (`initdb`, `pg_ctl`, `postgres`) in this directory |
//! | the system's packages | the highest version of Debian's, the PostgreSQL project's or Homebrew's |
//! | `initdb` on the `PATH` | the directory that it really is in, symbolic links followed |
//!
//! `EMMETT_DATABASE_URL`, the database of the command line, is not looked at: tests do not touch an operator's database.
//!
//! If no PostgreSQL is found, [`ServerError::ProgramsMissing`] says how to install it on this system.

mod database;
mod directory;
mod maintenance;
mod programs;
mod server;
mod server_builder;
mod server_error;
mod server_process;
mod server_settings;
mod store;

pub use self::{
    database::Database, server::Server, server_builder::ServerBuilder, server_error::ServerError,
    store::database,
};

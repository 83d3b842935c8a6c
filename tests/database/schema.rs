//! The schema: how a database gets it, whose it is, and what it is called.

mod emmetts_function;
mod files;
mod functions;
mod migration;
mod names;
mod once;
mod parts;
mod psql;

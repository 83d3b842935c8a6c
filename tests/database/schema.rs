//! The schema: its creation, its owner, and its names.

mod emmetts_function;
mod files;
mod functions;
mod migration;
mod names;
mod once;
mod parts;
mod psql;

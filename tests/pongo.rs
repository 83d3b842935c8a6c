//! Pongo: collections of documents against a real PostgreSQL.

mod client;
mod filters;
mod operations;

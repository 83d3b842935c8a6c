//! Pongo: collections of documents against a real PostgreSQL.

mod client;
mod collections;
mod filters;
mod operations;

//! Pongo: collections of documents against a real PostgreSQL.

mod client;
mod collections;
mod concurrency;
mod filters;
mod finding;
mod operations;
mod updates;

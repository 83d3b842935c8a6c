//! Pongo: collections of documents against a real PostgreSQL.

mod filters;
mod operations;

//! A user's whole day with various settings, encodings and versions of PostgreSQL.

pub(crate) mod program;
mod settings;

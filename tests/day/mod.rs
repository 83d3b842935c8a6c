//! A user's whole day under the settings, encodings and versions of PostgreSQL that a store meets.

pub(crate) mod program;
mod settings;

//! Writing documents.

pub(crate) mod change;
mod delete;
pub(crate) mod handle;
mod insert;
pub(crate) mod options;
pub(crate) mod outcome;
mod replace;
pub(crate) mod replace_many;
mod update;
mod upsert;
mod versioned_writes;

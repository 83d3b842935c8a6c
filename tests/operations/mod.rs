//! What an operator sees and does.

mod doctor;
mod event_log;
mod logical_replica;
mod outside_reader;
pub(crate) mod processors;
mod restored;

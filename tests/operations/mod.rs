//! The operator's tools.

mod doctor;
mod dump;
mod event_log;
mod logical_replica;
mod outside_reader;
mod point_in_time;
pub(crate) mod processors;
mod restored;

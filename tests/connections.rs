//! Connections: how many round trips an operation takes, and what becomes of it when a connection is lost.

pub(crate) mod proxy;
mod round_trips;

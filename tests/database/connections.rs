//! Connections: what an operation costs, where connections come from, and what becomes of it when they are lost.

mod asynchronous;
mod failover;
mod killed;
mod pgbouncer;
mod pools;
pub(crate) mod proxy;
mod refused;
mod restart;
mod round_trips;
mod stale_plans;

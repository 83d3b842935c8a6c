//! Connections: their cost per operation, their origin, and their loss.

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

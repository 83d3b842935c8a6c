//! Connections: one server's endpoint, a pool of hardened connections, and transactions that cannot commit by mistake.

mod connection_string;
mod endpoint;
mod pool;
mod sql;
mod sslmode;
#[cfg(feature = "tls")]
mod tls;
mod transaction;
mod transaction_control;

pub(crate) use endpoint::Endpoint;
pub use endpoint::{ConnectError, ConnectionStringError};
pub(crate) use pool::{Connections, PoolOptions, refuse_async_context};
pub(crate) use sql::{Jsonb, Parameter, Sql, get, param};
pub(crate) use transaction::{Nested, Transaction, check_open};
pub(crate) use transaction_control::refuse_transaction_control;

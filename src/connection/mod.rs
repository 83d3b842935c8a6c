//! Connections: a pool that hands out living ones, statements in one round trip, and transactions that cannot commit by
//! mistake.

mod pool;
mod sql;
mod transaction;
mod transaction_control;

pub(crate) use pool::{Checkout, Connections, PoolOptions, refuse_async_context};
pub(crate) use sql::{Jsonb, Parameter, Sql, get, param};
pub(crate) use transaction::{Nested, Transaction, abort, check_open};
pub(crate) use transaction_control::refuse_transaction_control;

//! Connections: a pool that hands out living ones, statements in one round trip, and transactions that cannot commit by
//! mistake.

mod pool;
mod source;
mod sql;
mod transaction;
mod transaction_control;
mod user_statement;

pub(crate) use pool::{Checkout, Connections, PoolOptions, refuse_async_context};
pub(crate) use source::ConnectionSource;
pub(crate) use sql::{Jsonb, Parameter, Sql, get, param};
pub(crate) use transaction::{Nested, Transaction, abort, check_open};
pub(crate) use user_statement::{batch_execute, execute, query};

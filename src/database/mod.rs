//! The database: connections, statements, transactions, names in SQL, and the schema.

pub(crate) mod back_off;
pub(crate) mod endpoint;
pub(crate) mod identifier;
mod pool;
pub(crate) mod position;
pub(crate) mod retry;
pub(crate) mod schema;
pub(crate) mod scope;
pub(crate) mod sha256;
mod source;
mod sql;
pub(crate) mod sql_template;
mod transaction;
mod transaction_control;
mod user_statement;

pub(crate) use pool::{Checkout, Connections, PoolOptions, refuse_async_context};
pub(crate) use source::ConnectionSource;
pub(crate) use sql::{Jsonb, Parameter, Sql, get, param};
pub(crate) use transaction::{Nested, Transaction, abort, check_open};
pub(crate) use user_statement::{batch_execute, execute, query};

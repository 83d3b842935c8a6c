//! The database: connections, statements, transactions, names in SQL, and the schema.

pub(crate) mod back_off;
mod connection_options;
pub(crate) mod endpoint;
pub(crate) mod error;
pub(crate) mod identifier;
mod lazy_transaction;
mod pool;
mod pooled_transaction;
pub(crate) mod position;
pub(crate) mod retry;
mod savepoint;
pub(crate) mod schema;
pub(crate) mod scope;
pub(crate) mod sha256;
mod source;
mod sql;
pub(crate) mod sql_template;
mod transaction;
mod transaction_control;

pub use connection_options::ConnectionOptions;
pub(crate) use error::{DatabaseError, RoomError};
pub(crate) use lazy_transaction::LazyTransaction;
pub(crate) use pool::{Checkout, Connections, refuse_async_context};
pub(crate) use pooled_transaction::PooledTransaction;
pub(crate) use savepoint::{Nested, abort, check_open};
pub(crate) use source::ConnectionSource;
pub(crate) use sql::{Jsonb, Parameter, Sql, get, param, scalar, scalars};
pub use transaction::Transaction;

//! Sessions, and transactions of the caller.

mod isolation;
mod sessions;
mod transactions;

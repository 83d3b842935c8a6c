//! Sessions, and transactions of the caller's.

mod isolation;
mod sessions;
mod transactions;

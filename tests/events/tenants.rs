//! Tenants: one store with several partitions, which are isolated from each other.

mod documents;
mod isolation;
mod lifecycle;
mod memory;
mod names;
mod waiting;

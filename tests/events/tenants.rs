//! Tenants: one store seen through several partitions, of which nothing crosses into another.

mod documents;
mod isolation;
mod lifecycle;
mod memory;
mod names;
mod waiting;

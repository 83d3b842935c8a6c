//! The fence of `schema.sql`: the feed has no holes, keeps the order of every stream, and nothing unrelated stalls it.
//!
//! `parts` removes one part of the fence at a time and shows the scenario that then fails. `experiment` runs all kinds
//! of writers at once. `bystanders` shows which transactions do not hold the feed back, and which one needs a fence.
//! `standby` needs a second server.

mod bystanders;
mod experiment;
pub(crate) mod fixtures;
mod parts;
mod standby;

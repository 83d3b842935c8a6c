//! The fence of `schema.sql`: the feed has no holes, keeps the order of every stream, and nothing unrelated stalls it.
//!
//! `parts` takes out one part of the fence at a time and shows the scenario that fails then. `experiment` lets everything
//! that writes run at once. `bystanders` shows who does not hold the feed back, and what keeps a fence. `standby` needs a
//! second server.

mod bystanders;
mod experiment;
pub(crate) mod fixtures;
mod parts;
mod standby;

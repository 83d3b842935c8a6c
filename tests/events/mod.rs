//! The log: appending, reading, the fence and the feed, partitions, wake-ups.

mod append;
mod archive;
mod batch_bytes;
mod categories;
mod damaged;
mod feed;
pub(crate) mod fence;
mod plans;
mod read;
mod tenants;
mod upcasting;
mod wakeups;

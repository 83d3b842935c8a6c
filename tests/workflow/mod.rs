//! Workflows: what they record, their timers, and that nothing is lost or repeated.

mod basics;
mod child;
pub(crate) mod fixtures;
mod killed;
mod outbox;
mod timers;

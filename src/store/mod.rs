//! The store, and a session that runs several operations in one transaction.

mod event_store;
mod follower;
mod session;

pub use event_store::EventStore;
pub use session::Session;

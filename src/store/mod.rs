//! What a user holds: the store, and a session that puts several operations into one transaction.

mod event_store;
mod follower;
mod session;

pub use event_store::EventStore;
pub use session::Session;

//! The store, and a session that runs several operations in one transaction.

mod after_commit;
mod event_store;
mod follower;
mod session;
mod snapshot_writer;

pub(crate) use after_commit::AfterCommit;
pub use event_store::EventStore;
pub use session::Session;

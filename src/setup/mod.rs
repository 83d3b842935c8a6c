//! Setting up a store.

mod builder;

pub use builder::EventStoreBuilder;

//! Setting a store up.

mod builder;

pub use builder::EventStoreBuilder;

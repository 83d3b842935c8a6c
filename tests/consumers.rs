//! Consumers: read models and reactions in the background.

mod basics;
mod failures;
mod ground;
mod jobs;

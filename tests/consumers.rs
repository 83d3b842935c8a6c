//! Consumers: read models and reactions in the background.

mod basics;
mod child;
mod failures;
mod ground;
mod held;
mod jobs;
mod leases;
mod operated;
mod parallel;
mod restart;
mod under_fire;

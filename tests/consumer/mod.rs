//! Consumers: read models and reactions in the background.

mod all_tenants;
mod basics;
mod chaos;
mod child;
mod deciding;
mod error_texts;
mod failures;
mod feed_held_back;
pub(crate) mod fixtures;
mod jobs;
mod leases;
mod named;
mod new_types;
mod operator;
mod parallel;
mod restart;
mod restored;
mod under_fire;
mod upcasting;
mod waiting;

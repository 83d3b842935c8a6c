//! Consumers: read models and reactions in the background.
//!
//! One thread reads the feed for all processors of a consumer and hands batches to their workers over bounded channels;
//! another renews their leases.

mod batch_transaction;
mod builder;
mod failure;
mod job;
mod lease_renewer;
mod mailbox;
mod new_types;
mod on_new_types;
mod poller;
mod processor;
mod projector;
mod reactor;
mod reactor_context;
#[cfg(feature = "job")]
mod run_main;
mod running;
mod shared;
mod stop;
mod thread;
mod wait;
mod worker;

pub use builder::ConsumerBuilder;
pub use failure::FailurePolicy;
pub use job::RunUntil;
pub use mailbox::Waiting;
pub use on_new_types::OnNewTypes;
pub use processor::StartFrom;
pub use projector::Projector;
pub use reactor::{Reactor, UnfinishedReactor};
pub use reactor_context::ReactorContext;
#[cfg(feature = "job")]
pub use run_main::run_main;
pub use running::Consumer;
pub use stop::StopHandle;

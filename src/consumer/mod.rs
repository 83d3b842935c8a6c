//! Read models and reactions in the background, or as a batch job.
//!
//! [`EventStore::consumer`](crate::EventStore::consumer) creates a consumer. Its processors are [`Projector`]s and
//! [`Reactor`]s. [`run_main`](crate::run_main) is a complete `main` for a program with a consumer.
//! [`EventStore::wait_for`](crate::EventStore::wait_for) waits until a processor has reached a position.
//! [`operations`](crate::operations) shows and resets processors.
//!
//! One thread reads the feed for all processors of a consumer and sends batches to their workers over bounded channels,
//! which provide back-pressure. One thread of the store renews the leases of all its consumers.

mod batch_transaction;
mod builder;
mod failure;
mod feed_reader;
mod job;
mod leaseholder;
mod mailbox;
mod message_name;
mod new_types;
mod on_new_types;
mod owner;
mod plan;
mod poller;
mod processor;
mod projector;
mod reactor;
mod reactor_context;
mod rebuilding;
mod requested_rebuilds;
mod retry_pauses;
#[cfg(feature = "job")]
mod run_main;
mod running;
pub(crate) mod scripted;
mod shared;
mod stop;
mod tenants;
mod thread;
mod timers;
mod wait;
mod worker;
mod workflow_processor;

pub use crate::error::run_report::{ProcessorRun, RunEnd, RunReport};
pub use builder::ConsumerBuilder;
pub use failure::FailurePolicy;
pub use job::RunUntil;
pub use mailbox::Waiting;
pub(crate) use message_name::MessageName;
pub use on_new_types::OnNewTypes;
pub use processor::StartFrom;
pub use projector::Projector;
pub use reactor::{Reactor, UnfinishedReactor};
pub use reactor_context::ReactorContext;
pub(crate) use retry_pauses::RetryPause;
#[cfg(feature = "job")]
pub use run_main::run_main;
pub use running::Consumer;
pub use stop::StopHandle;
pub use tenants::{TenantsConsumer, TenantsConsumerBuilder};
pub use workflow_processor::WorkflowProcessor;

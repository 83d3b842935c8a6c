//! An event store on PostgreSQL, with plain threads and no async runtime.
//!
//! ```
//! use emmett_postgresql::{AppendOptions, Event, EventStore};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! enum CartEvent {
//!     ItemAdded { product: String, quantity: u32 },
//!     Confirmed { client: String },
//! }
//! impl Event for CartEvent {}
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let database = emmett_postgresql::testing::database()?;
//! # let url = database.url();
//! let store = EventStore::open(url)?;
//!
//! let added = CartEvent::ItemAdded { product: "shoes-1".into(), quantity: 2 };
//! let appended = store.append_to_stream("Cart-1", &[added])?;
//! let confirmed = CartEvent::Confirmed { client: "anna".into() };
//! let expected = AppendOptions::new().expected_version(appended.next_expected_version);
//! store.append_to_stream_with("Cart-1", &[confirmed], expected)?;
//!
//! let items = store.aggregate_stream("Cart-1", || 0, |items, event| match event {
//!     CartEvent::ItemAdded { quantity, .. } => items + quantity,
//!     CartEvent::Confirmed { .. } => items,
//! })?;
//! assert_eq!((items.state, items.current_version), (2, 2));
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! - [`EventStore`] appends to streams and reads them. [`EventStore::builder`] sets it up.
//! - [`Event`] is implemented by your enums; [`NewMessage`] adds an id, causes and metadata; [`Recorded`] is what comes back.
//! - [`Session`] does several things in one [`Transaction`], the type that projections, reactors and documents use, too.
//! - [`DocumentProjection`] and [`SqlProjection`] keep read models in the transaction of the append.
//! - [`EventStore::rebuild`] builds a read model anew beside the live one, while appends go on.
//! - [`EventStore::consumer`] runs a [`Projector`] or a [`Reactor`] in the background, or as a batch job;
//!   [`EventStore::wait_for`] waits for one, [`EventStore::processors`] shows them all, [`EventStore::rebuild`] builds a read
//!   model anew, [`EventStore::doctor`] finds out what is wrong.
//! - [`pongo`] queries documents, with [`EventStore::collection`].
//! - [`EventStore::read_all`] is the feed: all messages, in one order, without holes.
//! - [`Processors`] says how far the processors of consumers are, and sets them back; [`EventStore::doctor`] says what is wrong.
//! - [`Tenants`], [`EventStore::archive_stream`], [`EventStore::import`] and [`EventStore::export`] run it;
//!   [`EventStore::restored`] says that a backup was restored.
//! - [`testing`] gives your tests a throwaway PostgreSQL; `cli` gives a program of yours the command line.
//!
//! # Guarantees
//!
//! 1. An append, its inline projections, and everything else in the same session are committed together or not at all.
//! 2. Of any number of concurrent appends that expect the same version, one wins; the others get [`Error::Conflict`] with the
//!    actual version. Appends that expect no version never conflict.
//! 3. Whoever has read the feed up to a position has seen every message that will ever exist at or below it.
//! 4. The feed delivers the messages of a stream in the order of their versions.
//! 5. Only an open transaction that has itself appended to the same tenant can hold the feed back.
//! 6. The writes of a [`Projector`] and its checkpoint are committed together, so no event is skipped or counted twice; a
//!    [`Reactor`] handles each at least once.
//! 7. What fails is returned, or is the state of the processor that failed: no error is swallowed, none is a panic.
//!
//! Not promised: positions without gaps; the order of keys in JSON objects, which JSONB does not keep.
//!
//! # Blocking
//!
//! Every call blocks its thread. From an async program, call it in `spawn_blocking`; inside a task it is
//! [`DatabaseError::AsyncContext`].
//!
//! # PostgreSQL
//!
//! Version 13 or newer, without extensions. This is the whole schema:
//!
#![doc = "```sql"]
#![doc = include_str!("../sql/documents.sql")]
#![doc = include_str!("../sql/operations/migrations.sql")]
#![doc = include_str!("../sql/operations/copied_grants.sql")]
#![doc = include_str!("../sql/documents/collections.sql")]
#![doc = include_str!("../sql/documents/adopted_collections.sql")]
#![doc = include_str!("../sql/documents/json.sql")]
#![doc = include_str!("../sql/documents/arrays.sql")]
#![doc = include_str!("../sql/documents/updates.sql")]
#![doc = include_str!("../sql/documents/selections.sql")]
#![doc = include_str!("../sql/documents/indexes.sql")]
#![doc = include_str!("../schema.sql")]
#![doc = include_str!("../sql/operations/error_texts.sql")]
#![doc = include_str!("../sql/events/partitions.sql")]
#![doc = include_str!("../sql/events/streams.sql")]
#![doc = include_str!("../sql/events/fence.sql")]
#![doc = include_str!("../sql/events/messages.sql")]
#![doc = include_str!("../sql/events/message_ids.sql")]
#![doc = include_str!("../sql/events/store_epochs.sql")]
#![doc = include_str!("../sql/events/append.sql")]
#![doc = include_str!("../sql/events/append_refusal.sql")]
#![doc = include_str!("../sql/events/append_to_streams.sql")]
#![doc = include_str!("../sql/events/read.sql")]
#![doc = include_str!("../sql/events/feed.sql")]
#![doc = include_str!("../sql/events/archive.sql")]
#![doc = include_str!("../sql/events/emmett.sql")]
#![doc = include_str!("../sql/projections/projections.sql")]
#![doc = include_str!("../sql/projections/missed.sql")]
#![doc = include_str!("../sql/projections/emmett_projections.sql")]
#![doc = include_str!("../sql/consumers/processor_beginnings.sql")]
#![doc = include_str!("../sql/consumers/processor_slots.sql")]
#![doc = include_str!("../sql/consumers/parked_messages.sql")]
#![doc = include_str!("../sql/consumers/emmett_processors.sql")]
#![doc = include_str!("../sql/projections/rebuilds.sql")]
#![doc = include_str!("../sql/projections/rebuild_requests.sql")]
#![doc = include_str!("../sql/projections/shadow_tables.sql")]
#![doc = include_str!("../sql/projections/replaced_documents.sql")]
#![doc = include_str!("../sql/operations/imports.sql")]
#![doc = include_str!("../sql/operations/store_check.sql")]
#![doc = include_str!("../sql/operations/grants.sql")]
#![doc = "```"]
#![warn(clippy::unwrap_used, clippy::print_stdout)]

#[cfg(feature = "job")]
pub use crate::consumer::run_main;
pub use crate::consumer::{
    Consumer, ConsumerBuilder, FailurePolicy, OnNewTypes, Projector, Reactor, ReactorContext,
    RunUntil, StartFrom, StopHandle, TenantsConsumer, TenantsConsumerBuilder, UnfinishedReactor,
    Waiting,
};
pub use crate::database::{
    AutoMigration, ConnectError, ConnectionOptions, ConnectionStringError, DatabaseError,
    ExpectedVersion, MigrationReport, Schema, SchemaState, Transaction,
};
pub use crate::error::{
    DecodeError, EncodeError, Error, EventLogError, ProcessorError, ProcessorRun, ProjectionError,
    Result, RunEnd, RunReport,
};
pub use crate::events::{
    Aggregate, AppendOptions, Appendable, Appended, Event, Feed, FeedOptions, HandledEvents,
    Horizon, MessageKind, NewMessage, RawEvent, ReadOptions, Recorded, RecordedMessage,
    StoredEvent, StreamIter, StreamMessages, StreamRead, Tenant, TenantRemoval, Tenants,
};
pub use crate::json::JsonError;
pub use crate::operations::{
    DoctorReport, ExportOptions, ExportProgress, ExportReport, FeedProof, FeedState, FenceHolder,
    Finding, FindingKind, HolderKind, ImportOptions, ImportProgress, ImportReport, Neighbour,
    ParkedDetail, Processors, SequenceRepair, Severity,
};
pub use crate::projection::{
    DocumentProjection, MissedEvents, NeighbourProjection, Projection, ProjectionContext,
    ProjectionFailure, ProjectionStatus, ProjectionType, ReadModel, RegisteredProjection,
    SqlProjection,
};
pub use crate::rebuild::{
    OldModel, OnHistory, Rebuild, RebuildProgress, RebuildReport, RequestedRebuild,
};
pub use crate::setup::EventStoreBuilder;
pub use crate::slots::{
    NeighbourProcessor, ParkedMessage, ParkedOptions, ParkedRequest, ParkedSelection,
    ProcessorReset, ProcessorState, ProcessorStatus, RequestOutcome, SlotHolder, SlotStatus,
    SurvivedError,
};
pub use crate::store::{EventStore, Session};

// The versions that appear in this crate's interface, so that a program need not name them a second time.
pub use {postgres, r2d2, r2d2_postgres};

#[cfg(feature = "cli")]
pub mod cli;
pub mod pongo;
pub mod testing;

// rustdoc shows the methods of `EventStore` in the order of these modules: appends and reads come first, then opening a store.
mod store;

mod setup;

mod consumer;
mod database;
mod error;
mod events;
mod json;
mod operations;
mod projection;
mod rebuild;
mod slots;
mod trace;

/// The README's example is compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So are those of the page on backup.
#[cfg(doctest)]
#[doc = include_str!("../docs/backup.md")]
struct Backup;

//! An event store on PostgreSQL, with plain threads and no async runtime.
//!
//! | | |
//! |---|---|
//! | New here? | [Ten minutes](guide::start::ten_minutes), [which call](guide::start::which_call), and the rest of the [`guide`] |
//! | The store | [`EventStore`], [`EventStoreBuilder`], [`ConnectionOptions`], [`Session`], [`Transaction`], [`Error`] |
//! | Events | [`Event`], [`RawEvent`], [`NewMessage`], [`Recorded`]; [`AppendOptions`], [`ReadOptions`], [`FeedOptions`] |
//! | Read models | [`DocumentProjection`], [`SqlProjection`]; documents and their queries in [`pongo`] |
//! | In the background | [`Projector`], [`Reactor`], [`FailurePolicy`]; as a batch job with [`RunUntil`] and `run_main` |
//! | More of each | [`events`], [`projection`], [`rebuild`], [`consumer`], [`operations`], [`database`], [`error`] |
//! | Beside it | [`guarantees`], the schema ([`sql`]), specifications and a server for tests ([`testing`]), the command line (`cli`) |
//!
//! ```
//! use emmett_postgresql::{Event, EventStore};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! enum CartEvent {
//!     ItemAdded { product: String, quantity: u32 },
//! }
//! impl Event for CartEvent {}
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let database = emmett_postgresql::testing::database()?;
//! # let url = database.url();
//! let store = EventStore::open(url)?;
//! let added = CartEvent::ItemAdded { product: "shoes-1".into(), quantity: 2 };
//! let cart = store.append_to_stream("Cart-1", &[added])?;
//! let items = store.aggregate_stream("Cart-1", || 0, |items, event| match event {
//!     CartEvent::ItemAdded { quantity, .. } => items + quantity,
//! })?;
//! assert_eq!((items.state, items.current_version), (2, cart.next_expected_version));
//! # Ok(())
//! # }
//! ```

#![warn(clippy::unwrap_used, clippy::print_stdout)]

#[cfg(feature = "job")]
#[doc(inline)]
pub use crate::consumer::run_main;
#[doc(inline)]
pub use crate::consumer::{FailurePolicy, Projector, Reactor, ReactorContext, RunUntil};
#[doc(inline)]
pub use crate::database::{ConnectionOptions, ExpectedVersion, Transaction};
#[doc(inline)]
pub use crate::error::{Error, Result};
#[doc(inline)]
pub use crate::events::{
    AppendOptions, Appended, Event, FeedOptions, NewMessage, RawEvent, ReadOptions, Recorded,
    RecordedMessage, StreamMessages,
};
#[doc(inline)]
pub use crate::projection::{DocumentProjection, ProjectionContext, SqlProjection};
pub use crate::setup::EventStoreBuilder;
pub use crate::store::{EventStore, Session};

// The versions in this crate's interface, so that a program need not declare them again.
pub use {postgres, r2d2, r2d2_postgres};

// rustdoc shows the methods of `EventStore` in the order of these modules: opening a store, then appends and reads.
mod setup;
mod store;

#[cfg(feature = "cli")]
pub mod cli;
pub mod consumer;
pub mod database;
pub mod decide;
pub mod error;
pub mod events;
pub mod guide;
pub mod operations;
pub mod pongo;
pub mod projection;
pub mod rebuild;
pub mod testing;
pub mod workflow;

#[cfg(test)]
mod fuzz;
mod json;
#[cfg(any(feature = "cli", feature = "job"))]
mod progress;
mod slots;
mod trace;

/// Guarantees of the store.
///
/// 1. An append, its inline projections, and everything else in the same session are committed together or not at all.
/// 2. Of several concurrent appends that expect the same version, one succeeds; the others get [`Error::Conflict`] with the
///    actual version. Appends without an expected version never conflict.
/// 3. A reader that has read the feed up to a position has seen every message that will ever exist at or below it.
/// 4. The feed delivers the messages of a stream in the order of their versions.
/// 5. Only an open transaction that has itself appended to the same tenant can hold the feed back.
/// 6. The writes of a [`Projector`] and its checkpoint are committed together, so no event is skipped or counted twice. A
///    [`Reactor`] handles each event at least once.
/// 7. A [`Workflow`](workflow::Workflow) decides each input once: its record, the outputs, the timers and the checkpoint are
///    committed together. A timer fires once, and never early by the server's clock.
/// 8. Every failure is returned as an error, or is the state of the failed processor. No error is swallowed, and no failure
///    panics.
///
/// Not guaranteed: positions without gaps, and the order of keys in JSON objects, which JSONB does not keep.
///
/// # Blocking
///
/// Every call blocks its thread. From an async program, call it in `spawn_blocking`. Inside a task, it fails with
/// [`DatabaseError::AsyncContext`](database::DatabaseError::AsyncContext).
pub mod guarantees {}

/// The complete schema, for PostgreSQL 13 or newer, without extensions.
///
/// Opening a store creates it. `emmett migrate` prints and applies it.
///
#[doc = "```sql"]
#[doc = include_str!("../sql/documents.sql")]
#[doc = include_str!("../sql/operations/migrations.sql")]
#[doc = include_str!("../sql/operations/copied_grants.sql")]
#[doc = include_str!("../sql/documents/collections.sql")]
#[doc = include_str!("../sql/documents/adopted_collections.sql")]
#[doc = include_str!("../sql/documents/json.sql")]
#[doc = include_str!("../sql/documents/arrays.sql")]
#[doc = include_str!("../sql/documents/updates.sql")]
#[doc = include_str!("../sql/documents/selections.sql")]
#[doc = include_str!("../sql/documents/indexes.sql")]
#[doc = include_str!("../schema.sql")]
#[doc = include_str!("../sql/operations/error_texts.sql")]
#[doc = include_str!("../sql/events/partitions.sql")]
#[doc = include_str!("../sql/events/streams.sql")]
#[doc = include_str!("../sql/events/fence.sql")]
#[doc = include_str!("../sql/events/messages.sql")]
#[doc = include_str!("../sql/events/message_ids.sql")]
#[doc = include_str!("../sql/events/store_epochs.sql")]
#[doc = include_str!("../sql/events/append.sql")]
#[doc = include_str!("../sql/events/append_refusal.sql")]
#[doc = include_str!("../sql/events/append_to_streams.sql")]
#[doc = include_str!("../sql/events/command_keys.sql")]
#[doc = include_str!("../sql/events/snapshots.sql")]
#[doc = include_str!("../sql/events/read.sql")]
#[doc = include_str!("../sql/events/feed.sql")]
#[doc = include_str!("../sql/events/archive.sql")]
#[doc = include_str!("../sql/events/emmett.sql")]
#[doc = include_str!("../sql/projections/projections.sql")]
#[doc = include_str!("../sql/projections/missed.sql")]
#[doc = include_str!("../sql/projections/emmett_projections.sql")]
#[doc = include_str!("../sql/consumers/processor_beginnings.sql")]
#[doc = include_str!("../sql/consumers/processor_slots.sql")]
#[doc = include_str!("../sql/consumers/parked_messages.sql")]
#[doc = include_str!("../sql/consumers/emmett_processors.sql")]
#[doc = include_str!("../sql/workflows/timers.sql")]
#[doc = include_str!("../sql/projections/rebuilds.sql")]
#[doc = include_str!("../sql/projections/rebuild_requests.sql")]
#[doc = include_str!("../sql/projections/shadow_tables.sql")]
#[doc = include_str!("../sql/projections/replaced_documents.sql")]
#[doc = include_str!("../sql/operations/imports.sql")]
#[doc = include_str!("../sql/operations/store_check.sql")]
#[doc = include_str!("../sql/operations/grants.sql")]
#[doc = "```"]
pub mod sql {}

/// Compiles the README's example with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

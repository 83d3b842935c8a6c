//! An event store on PostgreSQL, with plain threads and no async runtime.
#![warn(clippy::unwrap_used, clippy::print_stdout)]

pub use crate::{
    append_options::{AppendOptions, StreamMessages},
    builder::EventStoreBuilder,
    endpoint::{ConnectError, ConnectionStringError},
    error::{Error, Result},
    event::{Event, RawEvent, StoredEvent},
    event_codec::{DecodeError, EncodeError},
    event_log::{ExportOptions, ExportReport, ImportOptions, ImportProgress, ImportReport},
    feed::{Feed, FeedOptions, Horizon},
    json::JsonError,
    message::{Appendable, MessageKind, NewMessage, Recorded, RecordedMessage},
    position::ExpectedVersion,
    projection::{DocumentProjection, Projection, ProjectionContext, SqlProjection},
    schema::{AutoMigration, MigrationReport, Schema, SchemaState},
    session::Session,
    store::EventStore,
    stream::{Appended, ReadOptions},
    stream_read::{Aggregate, StreamIter, StreamRead},
    tenant::{Tenant, TenantRemoval, Tenants},
};

#[cfg(feature = "cli")]
pub mod cli;
pub mod pongo;
pub mod testing;

mod append_options;
mod builder;
mod connection;
mod endpoint;
mod error;
mod event;
mod event_codec;
mod event_log;
mod feed;
mod identifier;
mod json;
mod message;
mod partition;
mod position;
mod projection;
mod schema;
mod session;
mod store;
mod stream;
mod stream_read;
mod tenant;

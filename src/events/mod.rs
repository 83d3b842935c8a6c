//! The event log: messages, streams, the feed, and tenants.

mod batch_limits;
pub(crate) mod bulk;
mod category;
mod codec;
pub(crate) mod command_key;
pub(crate) mod epoch;
mod event;
pub(crate) mod feed;
pub(crate) mod feed_news;
mod for_test;
mod handled_events;
pub(crate) mod integrity;
mod message;
mod outbox;
mod partition;
pub(crate) mod snapshot;
pub(crate) mod stream;
pub(crate) mod stream_states;
mod tenant;
mod upcast;
mod wakeup;

pub(crate) use batch_limits::{BatchLimits, Page};
pub(crate) use category::check_category;
pub(crate) use command_key::CommandKey;
pub use event::{Event, RawEvent, StoredEvent};
pub use feed::{Feed, FeedOptions, Horizon};
pub use handled_events::HandledEvents;
pub(crate) use handled_events::{EventSelection, FeedFilter, Selection};
pub(crate) use integrity::SequenceSettings;
pub use message::{Appendable, MessageKind, NewMessage, Recorded, RecordedMessage};
pub(crate) use message::{CAUSATION_ID, CORRELATION_ID, OutgoingMessage};
pub(crate) use outbox::outbox_category;
pub use outbox::{outbox_key, outbox_stream};
pub(crate) use partition::{Partition, PartitionSql};
pub(crate) use snapshot::{Snapshot, SnapshotFormat, UnusableSnapshot};
pub use stream::{
    Aggregate, AppendOptions, Appended, ReadOptions, StreamIter, StreamMessages, StreamRead,
};
pub(crate) use stream::{InlineVersions, MessageRow, Stored, StreamAppend};
pub use tenant::{Tenant, TenantRemoval, Tenants};
pub(crate) use upcast::Encoded;
pub(crate) use wakeup::{RungPartitions, Wakeups};

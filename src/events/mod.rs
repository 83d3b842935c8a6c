//! The log: messages, streams, the feed, and the partitions that keep tenants apart.

pub(crate) mod bulk;
pub(crate) mod category;
pub(crate) mod codec;
pub(crate) mod event;
pub(crate) mod feed;
pub(crate) mod handled_events;
pub(crate) mod integrity;
pub(crate) mod message;
pub(crate) mod partition;
pub(crate) mod stream;
pub(crate) mod tenant;
pub(crate) mod wakeup;

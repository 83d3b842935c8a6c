//! The name under which the processes of a store notify each other.

use crate::database::TextDigest;
use std::sync::Arc;
use std::time::Duration;

/// A hash, because a schema's name with anything before it may be longer than a channel's name can be.
const HASH_LENGTH: usize = 16;

/// Between attempts to connect, to send as well as to listen.
pub(super) const SHORTEST_ATTEMPT_PAUSE: Duration = Duration::from_millis(20);
pub(super) const LONGEST_ATTEMPT_PAUSE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Channel(pub(super) Arc<str>);

impl Channel {
    pub(super) fn of(schema: &str) -> Self {
        let hash = TextDigest::from(schema).text();
        Self(format!("emt_{}", &hash[..HASH_LENGTH]).into())
    }
}

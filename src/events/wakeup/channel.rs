//! The name of the channel on which the processes of a store notify each other.

use crate::database::TextDigest;
use std::sync::Arc;
use std::time::Duration;

/// A hash, because a prefixed schema name may exceed the length of a channel's name.
const HASH_LENGTH: usize = 16;

/// Pause between attempts to connect, for sending and for listening.
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

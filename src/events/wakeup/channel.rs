//! The name under which the processes of a store notify each other.

use crate::database::sha256::TextDigest;
use std::sync::Arc;

/// A hash, because a schema's name with anything before it may be longer than a channel's name can be.
const HASH_LENGTH: usize = 16;

#[derive(Clone)]
pub(super) struct Channel(pub(super) Arc<str>);

impl Channel {
    pub(super) fn of(schema: &str) -> Self {
        let hash = TextDigest::from(schema).text();
        Self(format!("emt_{}", &hash[..HASH_LENGTH]).into())
    }
}

//! Limits on how much of the log is held in memory at a time.

use crate::error::{Error, Result};
use crate::events::message::RecordedMessage;

/// Memory that a message takes beside its JSON.
const BESIDE_JSON: usize = 256;

/// Highest compression ratio expected of stored JSON. Ordinary text shrinks to a fifth, a repeated letter to an 85th. A page
/// of repeated letters is fetched up to four times too large before it is cut.
const MOST_COMPRESSED: usize = 24;

/// The first messages that fit in a number of bytes; at least one. Only for pages of large messages, because the sums cost
/// each message something. The stored sizes bound how many messages are read to learn their real sizes.
macro_rules! with_room {
    ($messages:literal, $bytes:literal) => {
        concat!(
            " FROM (SELECT stored.*, pg_catalog.sum(pg_catalog.pg_column_size(ARRAY[message_data])::BIGINT + pg_catalog.pg_column_size(ARRAY[message_metadata]))
                           OVER (ROWS UNBOUNDED PRECEDING) AS size
                      FROM (SELECT message.*, row_number() OVER () AS number,
                                   pg_catalog.sum(pg_catalog.pg_column_size(message_data)::BIGINT + pg_catalog.pg_column_size(message_metadata))
                                   OVER (ROWS UNBOUNDED PRECEDING) AS stored_size
                              FROM ", $messages, " AS message) AS stored
                     WHERE number = 1 OR stored_size <= ", $bytes, ") AS message
              WHERE number = 1 OR size <= ", $bytes
        )
    };
}
pub(crate) use with_room;

/// The limits of a batch: a number of messages, and of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            messages: 1_000,
            bytes: Self::DEFAULT_BYTES,
        }
    }
}

impl BatchLimits {
    pub(crate) const DEFAULT_BYTES: usize = 16 * 1024 * 1024;

    /// A single message of any size.
    pub(crate) fn one_message() -> Self {
        Self {
            messages: 1,
            ..Self::default()
        }
    }

    pub(crate) fn check(self) -> Result<Self> {
        if self.messages == 0 {
            return Err(Error::invalid("the batch size", "must be at least 1"));
        }
        if self.bytes == 0 {
            return Err(Error::invalid(
                "the maximum number of bytes of a batch",
                "must be at least 1",
            ));
        }
        Ok(self)
    }

    /// Returns how many messages to ask for: no more than fit in the bytes if all were small.
    pub(crate) fn rows(self) -> usize {
        self.messages.min((self.bytes / BESIDE_JSON).max(1))
    }

    /// Returns the maximum size of the data and the metadata of a small message.
    pub(crate) fn small(self) -> usize {
        (self.bytes / self.rows() / 2).max(BESIDE_JSON)
    }

    /// Returns the maximum stored size, compressed or not, at which data and metadata count as small without a look at them.
    pub(crate) fn small_stored(self) -> usize {
        (self.bytes / self.rows() / MOST_COMPRESSED).min(self.small())
    }
}

/// The fill level of a batch that is being read.
#[derive(Debug)]
pub(crate) struct BatchFill {
    limits: BatchLimits,
    messages: usize,
    bytes: usize,
}

impl BatchFill {
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            messages: 0,
            bytes: 0,
        }
    }

    /// Counts a message with this many bytes of JSON. Returns false if it does not fit. The first message always fits.
    pub(crate) fn add(&mut self, json: usize) -> bool {
        let bytes = self.bytes.saturating_add(json).saturating_add(BESIDE_JSON);
        if self.messages > 0 && bytes > self.limits.bytes {
            return false;
        }
        self.messages += 1;
        self.bytes = bytes;
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.messages >= self.limits.rows()
    }
}

/// A part of the feed.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) messages: Vec<RecordedMessage>,
    /// The page has every message up to this position.
    pub(crate) position: u64,
}

impl Page {
    /// An empty page at the end of the feed.
    pub(crate) fn end(position: u64) -> Self {
        Self {
            messages: Vec::new(),
            position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BESIDE_JSON, BatchFill, BatchLimits};

    fn limits(messages: usize, bytes: usize) -> BatchLimits {
        BatchLimits { messages, bytes }
    }

    #[test]
    fn a_batch_ends_before_the_message_that_has_no_room() {
        let mut fill = BatchFill::new(limits(10, 2 * (1_000 + BESIDE_JSON)));
        assert!(fill.add(1_000));
        assert!(fill.add(1_000));
        assert!(!fill.add(0));
        assert!(!fill.is_full());
    }

    #[test]
    fn the_first_message_always_has_room() {
        let mut fill = BatchFill::new(limits(10, 1));
        assert!(fill.is_empty());
        assert!(fill.add(usize::MAX));
        assert!(!fill.add(0));
    }

    #[test]
    fn no_more_rows_are_asked_for_than_the_bytes_have_room_for() {
        assert_eq!(limits(1_000, 16 << 20).rows(), 1_000);
        assert_eq!(limits(usize::MAX, 16 << 20).rows(), 65_536);
        assert_eq!(limits(usize::MAX, 1).rows(), 1);
    }

    #[test]
    fn batches_of_nothing_are_refused() {
        assert!(limits(0, 1).check().is_err());
        assert!(limits(1, 0).check().is_err());
        assert!(limits(1, 1).check().is_ok());
    }
}

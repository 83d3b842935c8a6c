//! Options of a read of a stream.

use crate::database::ExpectedVersion;
use crate::error::{Error, Result};
use crate::events::BatchLimits;

/// Range and order of a read of a stream.
///
/// ```
/// use emmett_postgresql::ReadOptions;
/// let last_ten = ReadOptions::new().backwards().max_count(10);
/// let from_five = ReadOptions::new().from(5).to(20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct ReadOptions {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) max_count: Option<u64>,
    pub(super) backwards: bool,
    pub(super) include_archived: bool,
    pub(super) expected: ExpectedVersion,
    pub(super) limits: BatchLimits,
    pub(super) allow_gaps: bool,
    /// The read continues an earlier page.
    pub(super) is_continued: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            from: 0,
            to: u64::MAX,
            max_count: None,
            backwards: false,
            include_archived: false,
            expected: ExpectedVersion::Any,
            limits: BatchLimits::default(),
            allow_gaps: false,
            is_continued: false,
        }
    }
}

impl ReadOptions {
    /// Options for all messages, in the order of their versions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lowest version to read (inclusive). Defaults to the first.
    #[must_use]
    pub fn from(mut self, version: u64) -> Self {
        self.from = version;
        self
    }

    /// Highest version to read (inclusive). Defaults to the last.
    #[must_use]
    pub fn to(mut self, version: u64) -> Self {
        self.to = version;
        self
    }

    /// Maximum number of messages to read: from the start of the range, or from its end when reading backwards. Defaults to
    /// no limit.
    #[must_use]
    pub fn max_count(mut self, count: u64) -> Self {
        self.max_count = Some(count);
        self
    }

    /// Reads from the highest version down. Defaults to ascending versions.
    #[must_use]
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// Reads the stream even if it is archived. Defaults to treating an archived stream as one that does not exist.
    #[must_use]
    pub fn include_archived(mut self) -> Self {
        self.include_archived = true;
        self
    }

    /// Fails with [`Error::Conflict`] if the stream is not at this version. Defaults to any version.
    #[must_use]
    pub fn expected_version(mut self, expected: impl Into<ExpectedVersion>) -> Self {
        self.expected = expected.into();
        self
    }

    /// Maximum number of message bytes that [`read_stream_iter`](crate::EventStore::read_stream_iter) holds in memory: JSON
    /// plus 256 bytes a message. A single larger message is read alone. The iterator never holds more than 1,000 messages.
    /// Other reads ignore this limit: they return the whole range. Must be at least 1; with 0, the iterator's first item is
    /// [`Error::InvalidInput`]. Defaults to 16 MiB.
    #[must_use]
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Continues after missing messages, such as ones that were deleted by hand. Defaults to [`Error::StreamGap`], because a
    /// state folded without them is wrong.
    #[must_use]
    pub fn allow_gaps(mut self) -> Self {
        self.allow_gaps = true;
        self
    }

    pub(crate) fn next_page(mut self, last: u64, count: u64) -> Self {
        if self.backwards {
            self.to = last.saturating_sub(1);
        } else {
            self.from = last + 1;
        }
        self.max_count = self.max_count.map(|most| most.saturating_sub(count));
        self.expected = ExpectedVersion::Any;
        self.is_continued = true;
        self
    }

    pub(crate) fn limited_to(mut self, count: u64) -> Self {
        self.max_count = Some(self.max_count.map_or(count, |most| most.min(count)));
        self
    }

    pub(crate) fn up_to(mut self, version: u64) -> Self {
        self.to = self.to.min(version);
        self
    }
}

impl ExpectedVersion {
    pub(super) fn check(self, stream: &str, actual: u64) -> Result<()> {
        if self.is_met_by(actual) {
            Ok(())
        } else {
            Err(Error::Conflict {
                stream: stream.to_owned(),
                expected: self,
                actual,
            })
        }
    }
}

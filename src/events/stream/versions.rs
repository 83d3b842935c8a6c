//! Checks that a read finds every message in its range.

use super::read_options::ReadOptions;
use crate::error::{Error, Result};

/// The versions that a read has to find, one after the other.
///
/// Row level security on a leaf table hides rows, and rows may be deleted by hand. A state folded without them is wrong.
pub(super) struct Versions {
    /// The next version; `None` after the last.
    next: Option<u64>,
    /// The last version, in the order of reading.
    last: u64,
    is_backwards: bool,
    /// Maximum number of versions left to find.
    left: Option<u64>,
    may_have_gaps: bool,
}

impl Versions {
    /// Creates the versions to find in a part of a stream that is at `version`.
    pub(super) fn new(options: &ReadOptions, version: u64) -> Self {
        let lowest = options.from.max(1);
        // A continued read keeps the end of its first page, even if the stream has grown since.
        let highest = if options.is_continued {
            options.to
        } else {
            options.to.min(version)
        };
        let (first, last) = if options.backwards {
            (highest, lowest)
        } else {
            (lowest, highest)
        };
        Self {
            next: (lowest <= highest).then_some(first),
            last,
            is_backwards: options.backwards,
            left: options.max_count,
            may_have_gaps: options.allow_gaps,
        }
    }

    /// Fails if another version should have come.
    pub(super) fn found(&mut self, stream: &str, version: u64) -> Result<()> {
        if self.may_have_gaps {
            return Ok(());
        }
        if self.next != Some(version) {
            let expected = self.next.unwrap_or(self.last.saturating_add(1));
            return Err(gap(stream, expected, Some(version)));
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.next = self.after(version);
        Ok(())
    }

    fn after(&self, version: u64) -> Option<u64> {
        if version == self.last {
            None
        } else if self.is_backwards {
            version.checked_sub(1)
        } else {
            version.checked_add(1)
        }
    }

    /// Fails if versions are left to find.
    pub(super) fn end(self, stream: &str) -> Result<()> {
        match self.next {
            Some(expected) if !self.may_have_gaps && self.left != Some(0) => {
                Err(gap(stream, expected, None))
            }
            _ => Ok(()),
        }
    }
}

fn gap(stream: &str, expected: u64, found: Option<u64>) -> Error {
    Error::StreamGap {
        stream: stream.to_owned(),
        expected,
        found,
    }
}

//! Common parts of both sides' appends.

use anyhow::Result;

/// One thread's way to append, always the same events.
pub(crate) trait Appender: Send {
    fn append(&mut self, stream: &str) -> Result<()>;
}

//! Failures with the file of an import or an export.

/// A failure of an import or an export. [`Error::EventLog`](crate::Error::EventLog) wraps it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// A line of an import cannot be stored. Nothing of its batch was stored; the batches before it were.
    #[error("line {line}: {reason}")]
    #[non_exhaustive]
    Line {
        /// The line's number, starting at 1.
        line: u64,
        /// The problem with it.
        reason: String,
    },
    /// Reading the file of an import or writing the file of an export failed.
    #[error("reading or writing the event log failed")]
    #[non_exhaustive]
    Io {
        /// The operating system's error.
        source: std::io::Error,
    },
}

//! What can go wrong with the file of an import or an export.

/// What went wrong with an event log. [`Error::EventLog`](crate::Error::EventLog) wraps it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// A line of an import cannot be stored. Nothing of its batch was; the batches before it are.
    #[error("line {line}: {reason}")]
    #[non_exhaustive]
    Line {
        /// The line's number; the first line is 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Reading the file of an import or writing that of an export failed.
    #[error("reading or writing the event log failed")]
    #[non_exhaustive]
    Io {
        /// What the operating system said.
        source: std::io::Error,
    },
}

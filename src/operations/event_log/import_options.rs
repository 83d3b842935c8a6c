//! Options, progress and result of an import.

/// Options of an import.
pub struct ImportOptions<'p> {
    pub(super) batch_size: usize,
    pub(super) name: Option<String>,
    pub(super) progress: Box<dyn FnMut(ImportProgress) + 'p>,
}

impl std::fmt::Debug for ImportOptions<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ImportOptions")
            .field("batch_size", &self.batch_size)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Default for ImportOptions<'_> {
    fn default() -> Self {
        Self {
            batch_size: 5_000,
            name: None,
            progress: Box::new(|_| {}),
        }
    }
}

impl<'p> ImportOptions<'p> {
    /// Imports batches of 5,000 lines, with the store's inline projections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Maximum number of lines in one transaction and in memory, at least 1. A batch of large lines ends after 16 MiB.
    /// Defaults to 5,000.
    #[must_use]
    pub fn batch_size(mut self, lines: usize) -> Self {
        self.batch_size = lines;
        self
    }

    /// Name under which the store records the progress of the import. Defaults to a name that is derived from the
    /// log's first line.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Calls a function with the progress after every batch. Defaults to none.
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(ImportProgress) + 'p) -> Self {
        self.progress = Box::new(progress);
        self
    }
}

/// Progress of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportProgress {
    /// Number of bytes read.
    pub bytes: u64,
    /// Number of lines read.
    pub lines: u64,
    /// Number of messages stored.
    pub imported: u64,
}

/// Result of an import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportReport {
    /// Number of lines in the log.
    pub lines: u64,
    /// Number of messages that this import has stored.
    pub imported: u64,
    /// Number of lines about streams that this import has applied.
    pub streams: u64,
    /// Number of lines that an earlier import had stored.
    pub skipped: u64,
    /// Global position of the last message that this import has stored, or 0.
    pub last_global_position: u64,
}

//! What an import may be told, and what it tells.

/// How an event log is imported.
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
    /// Batches of 5,000 lines, with the store's inline projections.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many lines are stored in one transaction, and held in memory. A batch of large lines ends after
    /// 16 MiB. At least 1; defaults to 5,000.
    #[must_use]
    pub fn batch_size(mut self, lines: usize) -> Self {
        self.batch_size = lines;
        self
    }

    /// The name under which the store remembers how far the log was imported. Defaults to one that is made of the log's
    /// first line.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Is told after every batch how far the import has come.
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(ImportProgress) + 'p) -> Self {
        self.progress = Box::new(progress);
        self
    }
}

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportProgress {
    /// How many bytes were read.
    pub bytes: u64,
    /// How many lines were read.
    pub lines: u64,
    /// How many messages were stored.
    pub imported: u64,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportReport {
    /// How many lines the log has.
    pub lines: u64,
    /// How many messages were stored now.
    pub imported: u64,
    /// How many lines about streams were carried out now.
    pub streams: u64,
    /// How many lines an earlier import had stored.
    pub skipped: u64,
    /// The global position of the last message that was stored now; 0 when there was none.
    pub last_global_position: u64,
}

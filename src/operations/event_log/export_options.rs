//! Options, progress and result of an export.

/// Options of an export: the part of the feed, and the format.
pub struct ExportOptions<'p> {
    pub(super) after: u64,
    pub(super) positions: bool,
    pub(super) progress: Box<dyn FnMut(ExportProgress) + 'p>,
}

impl std::fmt::Debug for ExportOptions<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ExportOptions")
            .field("after", &self.after)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

impl Default for ExportOptions<'_> {
    fn default() -> Self {
        Self {
            after: 0,
            positions: true,
            progress: Box::new(|_| {}),
        }
    }
}

impl<'p> ExportOptions<'p> {
    /// Exports the whole feed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins after this global position. Defaults to 0, the beginning.
    #[must_use]
    pub fn after(mut self, position: u64) -> Self {
        self.after = position;
        self
    }

    /// Whether lines have `globalPosition`. An import ignores it and draws new positions, so it is the only
    /// difference between logs of the same messages. Defaults to true.
    #[must_use]
    pub fn positions(mut self, positions: bool) -> Self {
        self.positions = positions;
        self
    }

    /// Calls a function with the progress after every page of the feed, and at the end. Defaults to none.
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(ExportProgress) + 'p) -> Self {
        self.progress = Box::new(progress);
        self
    }
}

/// Progress of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExportProgress {
    /// Number of messages written.
    pub messages: u64,
    /// Global position that the export has reached.
    pub position: u64,
    /// Global position at which the export ends, unless more events are appended meanwhile.
    pub end: u64,
}

/// Result of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExportReport {
    /// Number of messages written.
    pub messages: u64,
    /// Number of lines written that give the archive state or the metadata of a stream.
    pub streams: u64,
    /// Position after which the next export continues. No message at or below it is missing.
    pub position: u64,
}

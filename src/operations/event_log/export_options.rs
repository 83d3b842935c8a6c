//! What an export may be told, and what it tells.

/// Which part of the feed is exported, and how.
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
    /// The whole feed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins after this global position. Defaults to 0, the beginning.
    #[must_use]
    pub fn after(mut self, position: u64) -> Self {
        self.after = position;
        self
    }

    /// Whether lines have `globalPosition`. An import takes no notice of it and draws positions anew, so logs of the same
    /// messages can differ there, and only there. Defaults to true.
    #[must_use]
    pub fn positions(mut self, positions: bool) -> Self {
        self.positions = positions;
        self
    }

    /// Is told after every page of the feed how far the export has come, and at its end.
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(ExportProgress) + 'p) -> Self {
        self.progress = Box::new(progress);
        self
    }
}

/// How far an export has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExportProgress {
    /// How many messages were written.
    pub messages: u64,
    /// Up to which global position.
    pub position: u64,
    /// The global position at which the export ends, unless more is appended meanwhile.
    pub end: u64,
}

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExportReport {
    /// How many messages were written.
    pub messages: u64,
    /// How many lines say that a stream is archived or what its metadata are.
    pub streams: u64,
    /// Where to go on: no message at or below this position is missing.
    pub position: u64,
}

/// What a migration did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MigrationReport {
    /// The migrations that were applied now, by name.
    pub applied: Vec<String>,
    /// Those that had been applied before.
    pub skipped: Vec<String>,
    /// What is not as it could be.
    pub remarks: Vec<String>,
}

impl MigrationReport {
    pub(crate) fn add(&mut self, item: String, is_new: bool) {
        if is_new {
            self.applied.push(item);
        } else {
            self.skipped.push(item);
        }
    }
}

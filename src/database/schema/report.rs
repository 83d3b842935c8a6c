/// Result of a migration or of a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MigrationReport {
    /// Names of the migrations that were applied now.
    pub applied: Vec<String>,
    /// Names of the migrations that had been applied before.
    pub skipped: Vec<String>,
    /// Advice about objects that should be changed.
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

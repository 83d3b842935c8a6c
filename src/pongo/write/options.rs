//! What a write may say beside the filter and the document.

use crate::database::ExpectedVersion;
use crate::pongo::error::{Error, Result};
use serde_json::Value;

/// How `update_one`, `replace_one` and their `find_one_and_…` forms choose, check and report.
///
/// ```
/// use emmett_postgresql::pongo::UpdateOptions;
/// let second_change = UpdateOptions::new().expected_version(2);
/// let counter = UpdateOptions::new().upsert();
/// ```
#[derive(Debug, Clone, Default)]
pub struct UpdateOptions {
    pub(crate) expected: ExpectedVersion,
    pub(crate) upsert: bool,
    pub(crate) sort: Option<Value>,
    pub(crate) reports_conflict: bool,
}

impl UpdateOptions {
    /// Any version, no upsert, whichever document matches, and an error for a conflict.
    pub fn new() -> Self {
        Self::default()
    }

    /// The version that the document must have. Defaults to any.
    #[must_use]
    pub fn expected_version(self, version: u64) -> Self {
        self.expect(ExpectedVersion::Exact(version))
    }

    /// What the document must be. Defaults to [`ExpectedVersion::Any`].
    #[must_use]
    pub fn expect(mut self, expected: ExpectedVersion) -> Self {
        self.expected = expected;
        self
    }

    /// Inserts a document where none matches: with the fields that the filter compares by equality, changed by the update; or
    /// the replacement. Its id is the filter's, or the replacement's, or a new UUID. Defaults to inserting nothing.
    ///
    /// Of concurrent upserts of one id, one inserts and the others change what it inserted. A filter that does not give the
    /// id needs a unique index for that, as in MongoDB.
    #[must_use]
    pub fn upsert(mut self) -> Self {
        self.upsert = true;
        self
    }

    /// Which document is the first, where several match: a sort document as in [`Find::sort`](crate::pongo::read::Find::sort). Defaults to
    /// any of them.
    #[must_use]
    pub fn sort(mut self, order: Value) -> Self {
        self.sort = Some(order);
        self
    }

    /// Reports a conflict in the result instead of as an error.
    #[must_use]
    pub fn report_conflict(mut self) -> Self {
        self.reports_conflict = true;
        self
    }

    /// For operations that give a document, and so have no place for a report.
    pub(crate) fn refuse_report(&self, operation: &str) -> Result<()> {
        if !self.reports_conflict {
            return Ok(());
        }
        let reason = format!(
            "{operation} gives a document and has no place for it: it fails with the conflict"
        );
        Err(Error::invalid("report_conflict", reason))
    }
}

/// How `delete_one` and `find_one_and_delete` choose, check and report.
///
/// ```
/// use emmett_postgresql::pongo::DeleteOptions;
/// use serde_json::json;
/// let oldest = DeleteOptions::new().sort(json!({"placedAt": 1}));
/// ```
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions(pub(super) UpdateOptions);

impl DeleteOptions {
    /// Any version, whichever document matches, and an error for a conflict.
    pub fn new() -> Self {
        Self::default()
    }

    /// The version that the document must have. Defaults to any.
    #[must_use]
    pub fn expected_version(self, version: u64) -> Self {
        Self(self.0.expected_version(version))
    }

    /// What the document must be. Defaults to [`ExpectedVersion::Any`].
    #[must_use]
    pub fn expect(self, expected: ExpectedVersion) -> Self {
        Self(self.0.expect(expected))
    }

    /// Which document is the first, where several match: a sort document as in [`Find::sort`](crate::pongo::read::Find::sort). Defaults to
    /// any of them.
    #[must_use]
    pub fn sort(self, order: Value) -> Self {
        Self(self.0.sort(order))
    }

    /// Reports a conflict in the result instead of as an error.
    #[must_use]
    pub fn report_conflict(self) -> Self {
        Self(self.0.report_conflict())
    }
}

/// Which of the two forms of a changed document `find_one_and_update` and `find_one_and_replace` give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReturnDocument {
    /// As it was before; `None` where it was inserted. The default.
    #[default]
    Before,
    /// As it is now.
    After,
}

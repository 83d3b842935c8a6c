//! Options of writes.

use crate::database::ExpectedVersion;
use crate::pongo::error::{Error, Result};
use serde_json::Value;

/// Options of `update_one`, `replace_one` and their `find_one_and_…` forms: which document they choose, expect and report.
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
    /// Creates the defaults: any version, no upsert, any matching document, and an error for a conflict.
    pub fn new() -> Self {
        Self::default()
    }

    /// Version that the document must have. Defaults to any.
    #[must_use]
    pub fn expected_version(self, version: u64) -> Self {
        self.expect(ExpectedVersion::Exact(version))
    }

    /// Expectation of the document. Defaults to [`ExpectedVersion::Any`].
    #[must_use]
    pub fn expect(mut self, expected: ExpectedVersion) -> Self {
        self.expected = expected;
        self
    }

    /// Inserts a document if no document matches. An update starts with the fields that the filter compares by equality; a
    /// replacement is inserted as it is. The id is the filter's, or the replacement's, or a new UUID. Defaults to inserting
    /// nothing.
    ///
    /// Of concurrent upserts of one id, one inserts, and the others change the inserted document. A filter without the id needs
    /// a unique index for that, as in MongoDB.
    #[must_use]
    pub fn upsert(mut self) -> Self {
        self.upsert = true;
        self
    }

    /// Order that decides which of several matching documents is written: a sort document as in
    /// [`Find::sort`](crate::pongo::read::Find::sort). Defaults to any matching document.
    #[must_use]
    pub fn sort(mut self, order: Value) -> Self {
        self.sort = Some(order);
        self
    }

    /// Reports a conflict in the result instead of as an error. Defaults to an error.
    #[must_use]
    pub fn report_conflict(mut self) -> Self {
        self.reports_conflict = true;
        self
    }

    /// Refuses a report for operations that return a document, because they have no place for it.
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

/// Options of `delete_one` and `find_one_and_delete`: which document they choose, expect and report.
///
/// ```
/// use emmett_postgresql::pongo::DeleteOptions;
/// use serde_json::json;
/// let oldest = DeleteOptions::new().sort(json!({"placedAt": 1}));
/// ```
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions(pub(super) UpdateOptions);

impl DeleteOptions {
    /// Creates the defaults: any version, any matching document, and an error for a conflict.
    pub fn new() -> Self {
        Self::default()
    }

    /// Version that the document must have. Defaults to any.
    #[must_use]
    pub fn expected_version(self, version: u64) -> Self {
        Self(self.0.expected_version(version))
    }

    /// Expectation of the document. Defaults to [`ExpectedVersion::Any`].
    #[must_use]
    pub fn expect(self, expected: ExpectedVersion) -> Self {
        Self(self.0.expect(expected))
    }

    /// Order that decides which of several matching documents is deleted: a sort document as in
    /// [`Find::sort`](crate::pongo::read::Find::sort). Defaults to any matching document.
    #[must_use]
    pub fn sort(self, order: Value) -> Self {
        Self(self.0.sort(order))
    }

    /// Reports a conflict in the result instead of as an error. Defaults to an error.
    #[must_use]
    pub fn report_conflict(self) -> Self {
        Self(self.0.report_conflict())
    }
}

/// The form of the document that `find_one_and_update` and `find_one_and_replace` return. Defaults to [`Before`](Self::Before).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReturnDocument {
    /// The document before the change; `None` if it was inserted.
    #[default]
    Before,
    /// The document after the change.
    After,
}

//! Where an append expects a stream to be.

use std::fmt;

/// The version that a stream must have for an append to go on.
///
/// It is checked inside the database, under the lock of the stream: of any number of concurrent appends that expect the
/// same version, one wins, and the others get [`Error::Conflict`](crate::Error::Conflict) with the actual version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExpectedVersion {
    /// Whatever it is; never conflicts. The default.
    #[default]
    Any,
    /// The stream does not exist yet. The same as `Exact(0)`.
    NoStream,
    /// The stream exists, at any version.
    StreamExists,
    /// The stream's last message has this version: 1 is the first message of a stream.
    Exact(u64),
}

impl ExpectedVersion {
    /// The form that `emt_append` takes.
    pub(crate) fn as_sql(self) -> Option<i64> {
        match self {
            Self::Any => None,
            Self::NoStream => Some(0),
            Self::StreamExists => Some(-1),
            // No stream reaches 2^63; the largest value stands for "a version that no stream has".
            Self::Exact(version) => Some(i64::try_from(version).unwrap_or(i64::MAX)),
        }
    }
}

impl From<u64> for ExpectedVersion {
    fn from(version: u64) -> Self {
        Self::Exact(version)
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("any version"),
            Self::NoStream => formatter.write_str("no stream"),
            Self::StreamExists => formatter.write_str("an existing stream"),
            Self::Exact(version) => write!(formatter, "version {version}"),
        }
    }
}

/// A version or position as PostgreSQL returns it: a `BIGINT` that is never negative.
pub(crate) fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A version or position as a `BIGINT`; larger ones cannot exist, so the largest stands for them.
pub(crate) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count or version as PostgreSQL returns it: an `INTEGER` that is never negative.
pub(crate) fn small_from_sql(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

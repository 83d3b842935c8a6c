//! The expected version of a stream or a document, and conversions of numbers and times to and from the database.

use super::error::{DatabaseError, Result};
use super::sql::get;
use postgres::Row;
use postgres::row::RowIndex;
use std::fmt::{self, Display};
use std::time::{Duration, SystemTime};

/// Version that a stream must have for an append, or a document for a write.
///
/// The database checks it under the lock of the stream or the document. Of several concurrent writes that expect the same
/// version, one succeeds. The others get [`Error::Conflict`](crate::Error::Conflict), or
/// [`pongo::Error::Conflict`](crate::pongo::Error::Conflict), with the actual version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExpectedVersion {
    /// Any version; never conflicts. The default.
    #[default]
    Any,
    /// It does not exist. Same as `Exact(0)`.
    DoesNotExist,
    /// It exists, at any version.
    Exists,
    /// It has this version. The first message of a stream has version 1. A document has version 1 after its insertion, and one
    /// more after each change.
    Exact(u64),
}

impl ExpectedVersion {
    /// Returns the form that the statements take.
    pub(crate) fn as_sql(self) -> Option<i64> {
        match self {
            Self::Any => None,
            Self::DoesNotExist => Some(0),
            Self::Exists => Some(-1),
            // Clamped like a bound: a version that nothing can have is refused, with the number that the caller gave.
            Self::Exact(version) => Some(to_sql(version)),
        }
    }

    /// Whether this version is what was expected; 0 is what does not exist.
    pub(crate) fn is_met_by(self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Exists => version > 0,
            Self::DoesNotExist => version == 0,
            Self::Exact(expected) => version == expected,
        }
    }
}

impl From<u64> for ExpectedVersion {
    fn from(version: u64) -> Self {
        Self::Exact(version)
    }
}

impl Display for ExpectedVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("any version"),
            Self::DoesNotExist => formatter.write_str("none"),
            Self::Exists => formatter.write_str("an existing one"),
            Self::Exact(version) => write!(formatter, "version {version}"),
        }
    }
}

/// Converts a version, position or count from PostgreSQL: a `BIGINT` that is never negative.
pub(crate) fn from_sql(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| negative("a position, version or count", value))
}

/// Reads a column with a version, position or count.
pub(crate) fn get_u64(row: &Row, column: impl RowIndex + Display + Copy) -> Result<u64> {
    let value: i64 = get(row, column)?;
    u64::try_from(value).map_err(|_| negative(&format!("column {column}"), value))
}

/// Reads a column with a small version or count, an `INTEGER`.
pub(crate) fn get_u32(row: &Row, column: &str) -> Result<u32> {
    let value: i32 = get(row, column)?;
    u32::try_from(value).map_err(|_| negative(&format!("column {column}"), value.into()))
}

fn negative(what: &str, value: i64) -> DatabaseError {
    DatabaseError::stored(what, value.to_string(), "not negative")
}

/// Converts a number for a comparison or a limit. No stored number exceeds the largest `BIGINT`, so larger numbers are
/// clamped to it. For a number that is stored, use [`stored_to_sql`].
pub(crate) fn to_sql(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// Converts a position that is to be stored.
pub(crate) fn stored_to_sql(what: &str, value: u64) -> Result<i64> {
    value
        .try_into()
        .map_err(|_| too_large(what, value, i64::MAX))
}

/// Converts a version or count that is to be stored as an `INTEGER`.
pub(crate) fn small_to_sql(what: &str, value: impl Into<u64>) -> Result<i32> {
    let value = value.into();
    value
        .try_into()
        .map_err(|_| too_large(what, value, i32::MAX.into()))
}

fn too_large(what: &str, value: u64, largest: i64) -> DatabaseError {
    DatabaseError::invalid(what, format!("must be at most {largest}, is {value}"))
}

/// Converts microseconds since 1970, negative before that, to a time.
pub(crate) fn time_from_sql(microseconds: i64) -> SystemTime {
    let distance = Duration::from_micros(microseconds.unsigned_abs());
    if microseconds < 0 {
        SystemTime::UNIX_EPOCH - distance
    } else {
        SystemTime::UNIX_EPOCH + distance
    }
}

/// Converts elapsed microseconds; negative ones, after a clock was set back, count as zero.
pub(crate) fn elapsed_from_sql(microseconds: i64) -> Duration {
    Duration::from_micros(microseconds.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::{elapsed_from_sql, from_sql, small_to_sql, stored_to_sql, time_from_sql, to_sql};
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_negative_number_is_not_taken_for_zero() {
        assert_eq!(from_sql(7).ok(), Some(7));
        let error = from_sql(-7).expect_err("-7").to_string();
        assert!(
            error.contains("-7") && error.contains("not negative"),
            "{error}"
        );
    }

    #[test]
    fn a_number_that_is_to_be_stored_is_not_cut() {
        assert_eq!(stored_to_sql("the position", 7).ok(), Some(7));
        assert!(stored_to_sql("the position", 1 << 63).is_err());
        assert_eq!(small_to_sql("the version", 7_u32).ok(), Some(7));
        let error = small_to_sql("the version", 3_000_000_000_u32).expect_err("too large");
        let text = "the version: must be at most 2147483647, is 3000000000";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_bound_beyond_all_numbers_is_the_largest() {
        assert_eq!(to_sql(7_u64), 7);
        assert_eq!(to_sql(u64::MAX), i64::MAX);
    }

    #[test]
    fn times_before_1970_are_kept() {
        let second = Duration::from_secs(1);
        assert_eq!(time_from_sql(1_000_000), SystemTime::UNIX_EPOCH + second);
        assert_eq!(time_from_sql(-1_000_000), SystemTime::UNIX_EPOCH - second);
        assert_eq!(elapsed_from_sql(-1), Duration::ZERO);
    }
}

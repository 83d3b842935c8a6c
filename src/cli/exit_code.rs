//! The exit codes.

/// The exit code of a command that failed. Wrong arguments give 2, which is clap's.
pub(super) const FAILED: u8 = 1;
/// The exit code of `migrate status` when the schema is missing or old.
pub(super) const NOT_MIGRATED: u8 = 3;
/// The exit code of `doctor` when something serious was found.
pub(super) const SERIOUS: u8 = 4;

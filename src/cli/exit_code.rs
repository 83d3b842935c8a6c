//! The exit codes.

/// A command failed. Wrong arguments give 2, the code of clap.
pub(super) const FAILED: u8 = 1;
/// `migrate status`: the schema is missing or old.
pub(super) const NOT_MIGRATED: u8 = 3;
/// `doctor`: a serious problem was found.
pub(super) const SERIOUS: u8 = 4;

//! The PostgreSQL schema and the partition of rows; and checks of their keys.

use super::error::{DatabaseError, Result};
use std::sync::Arc;

/// Partition of a store without tenants.
pub(crate) const DEFAULT_PARTITION: &str = "emt:default";

/// The rows that an operation sees.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) schema: Arc<str>,
    pub(crate) partition: Arc<str>,
}

/// Checks that a text can be stored: not empty, and without U+0000, which PostgreSQL's text cannot contain.
pub(crate) fn check_text(what: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(DatabaseError::invalid(what, "must not be empty"));
    }
    if text.contains('\0') {
        return Err(DatabaseError::invalid(
            format!("{what} {text:?}"),
            "must not contain the character U+0000",
        ));
    }
    Ok(())
}

/// A key and the partition's name together have to fit into an index entry of 2,704 bytes.
const LONGEST_KEY: usize = 2_000;

/// Checks that a text can be stored and used as a key.
pub(crate) fn check_key(what: &str, text: &str) -> Result<()> {
    check_text(what, text)?;
    if text.len() > LONGEST_KEY {
        let reason = format!(
            "must not be longer than {LONGEST_KEY} bytes, has {}",
            text.len()
        );
        return Err(DatabaseError::invalid(what, reason));
    }
    Ok(())
}

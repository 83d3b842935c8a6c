//! Where rows belong: the PostgreSQL schema and the partition; and the keys that rows can have.

use super::error::{DatabaseError, Result};
use std::sync::Arc;

/// The partition of a store that knows no tenants.
pub(crate) const DEFAULT_PARTITION: &str = "emt:default";

/// Whose rows an operation sees.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) schema: Arc<str>,
    pub(crate) partition: Arc<str>,
}

/// A text that can be stored: not empty, and without U+0000, which PostgreSQL's text cannot hold.
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

/// A key has to fit an index entry of 2,704 bytes together with the partition's name.
const LONGEST_KEY: usize = 2_000;

/// A text that can be stored and be a key.
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

//! Names in SQL text: the one place where identifiers are quoted.

use super::error::{DatabaseError, Result};

/// PostgreSQL cuts longer names off silently.
const LONGEST_NAME: usize = 63;

/// Quotes a name, so that any character can stand in it.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted name in a quoted schema.
pub(crate) fn qualify(schema: &str, name: &str) -> String {
    format!("{}.{}", quote(schema), quote(name))
}

/// Refuses names that PostgreSQL would cut off or cannot hold.
pub(crate) fn check(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        let reason = format!("must have 1 to {LONGEST_NAME} bytes, has {}", name.len());
        return Err(DatabaseError::invalid(format!("{what} {name:?}"), reason));
    }
    if name.chars().any(char::is_control) {
        return Err(DatabaseError::invalid(
            format!("{what} {name:?}"),
            "must not contain control characters",
        ));
    }
    Ok(())
}

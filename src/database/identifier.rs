//! Identifiers in SQL text: the one place that quotes them.

use super::error::{DatabaseError, Result};

/// PostgreSQL silently truncates longer names.
const LONGEST_NAME: usize = 63;

/// Quotes a name, so that it can contain any character.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns a quoted name in a quoted schema.
pub(crate) fn qualify(schema: &str, name: &str) -> String {
    format!("{}.{}", quote(schema), quote(name))
}

/// Refuses names that PostgreSQL would truncate or cannot store.
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

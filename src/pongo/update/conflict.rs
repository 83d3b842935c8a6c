//! MongoDB's rule that an update touches each field once.

use super::error::UpdateError;
use crate::pongo::dotted_path::DottedPath;

/// A path and the operator that changes what it names.
#[derive(Debug)]
pub(super) struct Touched<'u> {
    pub(super) operator: &'static str,
    pub(super) path: &'u DottedPath,
}

/// Refuses two equal paths, and a path that leads into another one.
pub(super) fn refuse_conflicts(mut touched: Vec<Touched<'_>>) -> Result<(), UpdateError> {
    // In this order the paths that lead into a path stand directly behind it.
    touched.sort_by(|one, other| one.path.names().cmp(other.path.names()));
    for pair in touched.windows(2) {
        let [one, other] = pair else { continue };
        if other.path.leads_into(one.path) {
            return Err(UpdateError::Conflict {
                operator: one.operator,
                path: one.path.as_str().to_owned(),
                other_operator: other.operator,
                other_path: other.path.as_str().to_owned(),
            });
        }
    }
    Ok(())
}

//! MongoDB's rule that an update touches each field once.

use super::error::UpdateError;
use super::field::Field;

/// Refuses equal paths, and a path that leads into another one.
pub(super) fn refuse_conflicts(mut touched: Vec<&Field>) -> Result<(), UpdateError> {
    // In this order, the paths into a path follow it directly.
    touched.sort_by(|one, other| one.path.names().cmp(other.path.names()));
    for pair in touched.windows(2) {
        let [one, other] = pair else { continue };
        if other.path.leads_into(&one.path) {
            return Err(UpdateError::Conflict {
                operator: one.operator,
                path: one.path(),
                other_operator: other.operator,
                other_path: other.path(),
            });
        }
    }
    Ok(())
}

//! The dotted paths of an update.

use super::update_error::UpdateError;
use crate::pongo::dotted_path;

/// The fields that the library itself keeps.
const IMMUTABLE: [&str; 2] = ["_id", "_version"];

/// A dotted path such as `address.city`, checked and split. A name is a field of an object, or, when it is a number, an
/// element of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UpdatePath<'u> {
    pub(super) text: &'u str,
    pub(super) names: Vec<&'u str>,
}

impl<'u> UpdatePath<'u> {
    pub(super) fn parse(operator: &'static str, text: &'u str) -> Result<Self, UpdateError> {
        let names = dotted_path::names(text).map_err(|reason| UpdateError::InvalidPath {
            operator,
            path: text.to_owned(),
            reason,
        })?;
        match IMMUTABLE.into_iter().find(|field| *field == names[0]) {
            Some(field) => Err(UpdateError::Immutable {
                operator,
                path: text.to_owned(),
                field,
            }),
            None => Ok(Self { text, names }),
        }
    }
}

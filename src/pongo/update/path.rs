//! The dotted paths of an update.

use super::error::UpdateError;
use crate::pongo::dotted_path;

/// The fields that the library itself keeps.
const IMMUTABLE: [&str; 2] = ["_id", "_version"];

/// A dotted path such as `address.city`, checked and split. A name is a field of an object, or, when it is a number, an
/// element of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpdatePath<'u> {
    pub(crate) text: &'u str,
    pub(crate) names: Vec<&'u str>,
}

impl<'u> UpdatePath<'u> {
    pub(crate) fn parse(operator: &'static str, text: &'u str) -> Result<Self, UpdateError> {
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

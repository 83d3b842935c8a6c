//! Which message types a projection or a reactor handles.

use super::projection::Projection;
use crate::error::{Error, Result};

/// The types that an enum knows, or those of them that are asked for.
#[derive(Debug, Clone)]
pub(crate) struct HandledTypes {
    /// The enum's name, for messages.
    event: &'static str,
    /// `None` for an enum that reads all types.
    known: Option<Vec<String>>,
    asked: Option<Vec<String>>,
}

impl HandledTypes {
    pub(crate) fn of<E: crate::events::Event>() -> Self {
        Self {
            event: std::any::type_name::<E>(),
            known: E::known_types(),
            asked: None,
        }
    }

    /// Those that a projection of the user's own handles.
    pub(crate) fn of_projection(projection: &dyn Projection) -> Self {
        Self {
            event: "",
            known: projection.handles().map(<[String]>::to_vec),
            asked: None,
        }
    }

    pub(crate) fn restrict<T: AsRef<str>>(&mut self, types: &[T]) {
        let types = types.iter().map(|name| name.as_ref().to_owned());
        self.asked = Some(types.collect());
    }

    pub(crate) fn as_slice(&self) -> Option<&[String]> {
        self.asked.as_deref().or(self.known.as_deref())
    }

    /// Fails when a type is asked for that the enum does not have: it would never be handled.
    pub(crate) fn check(&self, what: impl FnOnce() -> String) -> Result<()> {
        let Some(asked) = &self.asked else {
            return Ok(());
        };
        if asked.is_empty() {
            return Err(Error::invalid(what(), "can handle no message type at all"));
        }
        let Some(known) = &self.known else {
            return Ok(());
        };
        let unknown: Vec<&String> = asked.iter().filter(|name| !known.contains(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "cannot handle {unknown:?}: {} has the types {known:?}",
            self.event
        );
        Err(Error::invalid(what(), reason))
    }
}

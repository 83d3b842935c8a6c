//! Which message types a projection handles.

/// The types that a projection handles: those its enum knows, or fewer of them.
#[derive(Debug, Clone)]
pub(crate) struct HandledTypes(Option<Vec<String>>);

impl HandledTypes {
    pub(crate) fn of<E: crate::events::Event>() -> Self {
        Self(E::known_types())
    }

    pub(crate) fn restrict(&mut self, types: &[&str]) {
        self.0 = Some(types.iter().map(|&name| name.to_owned()).collect());
    }

    pub(crate) fn as_slice(&self) -> Option<&[String]> {
        self.0.as_deref()
    }
}

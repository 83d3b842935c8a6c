//! Dotted paths such as `address.city`, in filters, sorts, selections, indexes and updates.

use serde_json::{Map, Value};
use std::str::Split;

/// A checked path. A name is a field of an object. A number may also be the position of an array element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DottedPath(String);

/// The reason for which a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidPath {
    pub(crate) path: String,
    pub(crate) reason: &'static str,
}

/// The two columns that a path can name like fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Id,
    Version,
}

impl DottedPath {
    pub(crate) fn parse(text: impl Into<String>) -> Result<Self, InvalidPath> {
        let path = Self(text.into());
        match path.fault() {
            None => Ok(path),
            Some(reason) => Err(InvalidPath {
                path: path.0,
                reason,
            }),
        }
    }

    /// Creates a path of one name that is known to be valid.
    pub(crate) fn known(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    fn fault(&self) -> Option<&'static str> {
        if self.names().any(str::is_empty) {
            return Some("it has an empty name");
        }
        if self.names().any(|name| name.starts_with('$')) {
            return Some("its names must not begin with `$`");
        }
        self.0.contains('\0').then_some("it contains U+0000")
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn names(&self) -> Split<'_, char> {
        self.0.split('.')
    }

    pub(crate) fn first(&self) -> &str {
        self.0
            .split_once('.')
            .map_or(self.as_str(), |(first, _)| first)
    }

    /// Returns whether the path is a single name, so that no array can be on the way to its value.
    pub(crate) fn is_top_level(&self) -> bool {
        !self.0.contains('.')
    }

    /// Returns whether the path equals the other one, or continues it.
    pub(crate) fn leads_into(&self, other: &Self) -> bool {
        let rest = self.0.strip_prefix(&other.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Inserts a value at the path, and creates missing objects on the way. Returns false if a value is already there.
    pub(crate) fn insert_into(&self, object: &mut Map<String, Value>, value: Value) -> bool {
        insert_at(object, &self.0, value)
    }

    /// Returns the column that the first name stands for in a document of a collection.
    pub(crate) fn column(&self) -> Option<Column> {
        Column::ALL
            .into_iter()
            .find(|column| column.name() == self.first())
    }
}

fn insert_at(object: &mut Map<String, Value>, path: &str, value: Value) -> bool {
    let Some((name, rest)) = path.split_once('.') else {
        return object.insert(path.to_owned(), value).is_none();
    };
    let inner = object
        .entry(name)
        .or_insert_with(|| Value::Object(Map::new()));
    match inner {
        Value::Object(inner) => insert_at(inner, rest, value),
        _ => false,
    }
}

impl Column {
    const ALL: [Self; 2] = [Self::Id, Self::Version];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Id => "_id",
            Self::Version => "_version",
        }
    }
}

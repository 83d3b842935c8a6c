//! The error of a statement that writes documents.

use super::table::DocumentTable;
use crate::pongo::error::Error;
use postgres::error::SqlState;

/// Prefix of the detail of a taken id: `(_id, _partition)=(1, emt:default)`, or `(_id)=(1)` in a table of Pongo for Node.
const ID_COLUMNS: [&str; 2] = ["(_id, _partition)=(", "(_id)=("];

impl DocumentTable {
    /// Returns the error of a statement that writes documents. A unique violation is either a taken id or equal values in a
    /// unique index.
    pub(crate) fn write_error(&self, doing: &'static str, source: postgres::Error) -> Error {
        if source.code() != Some(&SqlState::UNIQUE_VIOLATION) {
            return Error::database(doing, source);
        }
        let error = source.as_db_error();
        let constraint = error
            .and_then(|error| error.constraint())
            .unwrap_or_default();
        // The detail is localized, except for the columns. A role without the right to read the columns gets no detail.
        let detail = error.and_then(|error| error.detail());
        let key = detail.and_then(|detail| detail.find('(').map(|start| &detail[start..]));
        let is_id = key.map_or(constraint.ends_with("_pkey"), |key| {
            ID_COLUMNS.iter().any(|columns| key.starts_with(columns))
        });
        if is_id {
            return Error::Exists {
                collection: self.collection.clone(),
                id: key.and_then(|key| self.taken_id(key)).unwrap_or_default(),
            };
        }
        Error::NotUnique {
            collection: self.collection.clone(),
            index: constraint.to_owned(),
            source,
        }
    }

    fn taken_id(&self, key: &str) -> Option<String> {
        let (_, values) = key.split_once("=(")?;
        let id = if key.starts_with(ID_COLUMNS[0]) {
            let end = values.rfind(&format!(", {})", self.partition))?;
            &values[..end]
        } else {
            &values[..values.rfind(')')?]
        };
        Some(id.to_owned())
    }
}

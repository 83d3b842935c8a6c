//! The values that a path leads to, one by one.

use super::column::Column;
use super::error::FilterError;
use super::field_path::{FieldPath, Target};

/// `FROM` items behind the table of a collection that give the column `found.value`: what the path leads to in a document,
/// and the elements of what of that is an array.
pub(crate) fn found_values(path: &str) -> Result<String, FilterError> {
    Ok(match Target::parse(path)? {
        Target::Column(column) => {
            let name = match column {
                Column::Id => "_id",
                Column::Version => "_version",
            };
            format!("LATERAL (SELECT pg_catalog.to_jsonb({name})) AS found (value)")
        }
        Target::Field(path) => in_fields(&path),
    })
}

fn in_fields(path: &FieldPath<'_>) -> String {
    let values = path.candidates("data", false);
    format!(
        "{values}, LATERAL pg_catalog.jsonb_path_query(candidate.value, '$[*]') AS found (value)"
    )
}

//! Documents as they are read: the JSON of a row, with what its columns say of the id and the version.

use crate::connection::{Jsonb, get};
use crate::error::Result;
use crate::position::from_sql;
use postgres::Row;
use std::io::Write;

/// What a statement reads of a document; see [`StoredDocument::of_row`].
pub(super) const DOCUMENT: &str = "data, _id, _version";

/// The fields that come from columns, whatever the JSON says. `jsonb` escapes nothing in these names.
const COLUMNS: [&[u8]; 2] = [b"\"_id\"", b"\"_version\""];

/// Takes a document that a write gives, before the write is committed: where it cannot be read, nothing is written.
pub(super) type Take<'t> = &'t dyn Fn(&StoredDocument<'_>) -> Result<()>;

/// A document in a row.
pub(super) struct StoredDocument<'r> {
    pub(super) data: &'r [u8],
    pub(super) id: &'r str,
    pub(super) version: u64,
}

impl<'r> StoredDocument<'r> {
    /// The document in the first three columns of a row, which are those of [`DOCUMENT`].
    pub(super) fn of_row(row: &'r Row) -> Result<Self> {
        Ok(Self {
            data: get::<Jsonb<'r>>(row, 0)?.0,
            id: get(row, 1)?,
            version: from_sql(get(row, 2)?),
        })
    }

    /// The JSON with the id and the version in it. Done here, because `jsonb ||` costs the server more than this costs us.
    pub(super) fn json(&self) -> Vec<u8> {
        let Some(fields) = Fields::of(self.data) else {
            return self.data.to_vec();
        };
        let mut json = Vec::with_capacity(self.data.len() + self.id.len() + 40);
        json.push(b'{');
        for field in fields.filter(|field| !is_column(field)) {
            json.extend_from_slice(field);
            json.push(b',');
        }
        push_id(&mut json, self.id);
        // Writing to memory does not fail.
        let _ = write!(json, ",\"_version\":{}}}", self.version);
        json
    }
}

/// Writes the field `_id`.
pub(super) fn push_id(json: &mut Vec<u8>, id: &str) {
    json.extend_from_slice(b"\"_id\":");
    // Writing a string to memory does not fail.
    let _ = serde_json::to_writer(json, id);
}

/// Whether a field is certainly none of those that come from columns; its name might be one if it is escaped.
pub(super) fn is_no_column(field: &[u8]) -> bool {
    let name = field.strip_prefix(b"\"").unwrap_or_default();
    let end = name.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    !name.starts_with(b"_") && end.is_some_and(|end| name[end] == b'"')
}

fn is_column(field: &[u8]) -> bool {
    COLUMNS.iter().any(|name| field.starts_with(name))
}

/// The fields of an object in valid JSON, each as it stands there.
pub(super) struct Fields<'j>(&'j [u8]);

impl<'j> Fields<'j> {
    /// `None` for what is no object.
    pub(super) fn of(json: &'j [u8]) -> Option<Self> {
        let fields = json.strip_prefix(b"{")?.strip_suffix(b"}")?;
        Some(Self(fields))
    }
}

impl<'j> Iterator for Fields<'j> {
    type Item = &'j [u8];

    fn next(&mut self) -> Option<&'j [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let length = length_of_field(self.0);
        let (field, rest) = self.0.split_at(length);
        self.0 = rest.get(1..).unwrap_or_default();
        Some(field.trim_ascii())
    }
}

/// Where the comma behind a field stands, or the end.
fn length_of_field(json: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => at += length_of_string(&json[at + 1..]),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    json.len()
}

/// How many bytes a string has behind its first quote, with the last one.
fn length_of_string(json: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_columns_win_over_the_json() {
        for (data, own) in [
            ("{}", json!({})),
            (r#"{"_id": "other"}"#, json!({})),
            (r#"{"a": 1, "_id": "x", "_version": "7"}"#, json!({"a": 1})),
            (
                r#"{"_version": {"a": [1, "}"]}, "b": {"_id": 2, "c": [{"_version": 3}, 4]}}"#,
                json!({"b": {"_id": 2, "c": [{"_version": 3}, 4]}}),
            ),
            (
                r#"{"a,b": "{\"_id\": \\", "\"_id": "\\\"", "_ids": ["]", ","], "c": ""}"#,
                json!({"a,b": "{\"_id\": \\", "\"_id": "\\\"", "_ids": ["]", ","], "c": ""}),
            ),
        ] {
            let stored = StoredDocument {
                data: data.as_bytes(),
                id: "i\"d",
                version: 3,
            };
            let mut expected = own;
            expected["_id"] = json!("i\"d");
            expected["_version"] = json!(3);
            let json = stored.json();
            let read: Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(read, expected, "{data}");
            let text = String::from_utf8(json).unwrap();
            assert_eq!(text.matches("\"_id\":\"i").count(), 1, "{text}");
        }
    }

    #[test]
    fn a_name_that_may_be_a_columns_is_told_from_others() {
        for name in ["a", "id", "", "a_id", "ä"] {
            assert!(is_no_column(format!("\"{name}\":1").as_bytes()), "{name}");
        }
        for name in ["_id", "_version", "_", "\\u005fid", "a\\n"] {
            assert!(!is_no_column(format!("\"{name}\": 1").as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_is_no_object_stays_as_it_is() {
        for data in ["[1]", "\"{}\"", "null"] {
            let stored = StoredDocument {
                data: data.as_bytes(),
                id: "a",
                version: 1,
            };
            assert_eq!(stored.json(), data.as_bytes());
        }
    }
}

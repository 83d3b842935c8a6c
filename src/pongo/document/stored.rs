//! Documents as they are read: the JSON of a row, with what its columns say of the id and the version.

use crate::database::position::from_sql;
use crate::database::{Jsonb, get};
use crate::pongo::error::Result;
use memchr::memmem;
use postgres::Row;
use std::io::Write;

/// What a statement reads of a document; see [`StoredDocument::of_row`].
pub(crate) const DOCUMENT: &str = "data, _id, _version";

/// The names of the fields that come from columns, whatever the JSON says, as `jsonb` writes them: it escapes nothing in them.
const COLUMNS: [&[u8]; 2] = [b"\"_id\":", b"\"_version\":"];

/// Takes a document that a write gives, before the write is committed: where it cannot be read, nothing is written.
pub(crate) type Take<'t> = &'t dyn Fn(&StoredDocument<'_>) -> Result<()>;

/// A document in a row.
pub(crate) struct StoredDocument<'r> {
    pub(crate) data: &'r [u8],
    pub(crate) id: &'r str,
    pub(crate) version: u64,
}

impl<'r> StoredDocument<'r> {
    /// The document in the first three columns of a row, which are those of [`DOCUMENT`].
    pub(crate) fn of_row(row: &'r Row) -> Result<Self> {
        Ok(Self {
            data: get::<Jsonb<'r>>(row, 0)?.0,
            id: get(row, 1)?,
            version: from_sql(get(row, 2)?),
        })
    }

    /// The JSON with the id and the version in it. Done here, because `jsonb ||` costs the server more than this costs us.
    pub(crate) fn json(&self) -> Vec<u8> {
        let Some(fields) = self.data.strip_suffix(b"}") else {
            return self.data.to_vec();
        };
        let mut json = Vec::with_capacity(self.data.len() + self.id.len() + 40);
        if names_columns(self.data) {
            json.push(b'{');
            for field in Fields::of(self.data).filter(|field| !is_column(field)) {
                push_field(&mut json, field);
            }
        } else {
            json.extend_from_slice(fields);
        }
        push_field(&mut json, b"\"_id\":");
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut json, self.id);
        let _ = write!(json, ",\"_version\":{}}}", self.version);
        json
    }
}

/// Puts a field behind those that are there.
fn push_field(json: &mut Vec<u8>, field: &[u8]) {
    if json.last() != Some(&b'{') {
        json.push(b',');
    }
    json.extend_from_slice(field);
}

/// Whether one of the objects in JSON as `jsonb` writes it has a field that is named like a column.
fn names_columns(data: &[u8]) -> bool {
    COLUMNS
        .iter()
        .any(|name| memmem::find(data, name).is_some())
}

/// Whether a field, as `jsonb` writes it, is named like a column.
fn is_column(field: &[u8]) -> bool {
    COLUMNS.iter().any(|name| field.starts_with(name))
}

/// The JSON of an object without the fields that come from columns, and the JSON of its id. The others stay as they are, to the
/// letter. Of two fields of one name the last counts, as in `jsonb`.
pub(crate) fn without_columns(json: Vec<u8>) -> serde_json::Result<(Vec<u8>, Option<Vec<u8>>)> {
    if !may_name_columns(&json) {
        return Ok((json, None));
    }
    let (mut kept, mut id) = (Vec::with_capacity(json.len()), None);
    kept.push(b'{');
    for field in Fields::of(&json) {
        let (name, value) = name_and_value(field);
        match serde_json::from_slice::<String>(name)?.as_str() {
            "_id" => id = Some(value.to_vec()),
            "_version" => {}
            _ => push_field(&mut kept, field),
        }
    }
    kept.push(b'}');
    Ok((kept, id))
}

/// Whether JSON may have a field that is named like a column: such a name begins with an underscore, which may be escaped.
fn may_name_columns(json: &[u8]) -> bool {
    memmem::find(json, b"\"_").is_some() || memmem::find(json, b"\\u").is_some()
}

fn name_and_value(field: &[u8]) -> (&[u8], &[u8]) {
    let quoted = field.get(1..).unwrap_or_default();
    let (name, rest) = field.split_at(field.len() - quoted.len() + length_of_string(quoted));
    let rest = rest.trim_ascii_start();
    (name, rest.strip_prefix(b":").unwrap_or(rest))
}

/// The fields of an object in valid JSON, each as it stands there.
pub(crate) struct Fields<'j>(&'j [u8]);

impl<'j> Fields<'j> {
    /// None of what is no object.
    pub(crate) fn of(json: &'j [u8]) -> Self {
        let fields = json.strip_prefix(b"{");
        Self(
            fields
                .and_then(|fields| fields.strip_suffix(b"}"))
                .unwrap_or_default(),
        )
    }
}

impl<'j> Iterator for Fields<'j> {
    type Item = &'j [u8];

    fn next(&mut self) -> Option<&'j [u8]> {
        if self.0.trim_ascii().is_empty() {
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
    fn what_is_stored_has_no_columns_and_the_rest_to_the_letter() {
        for (json, stored, id) in [
            ("{}", "{}", None),
            ("{ }", "{ }", None),
            (r#"{"a":1.0,"b":"_id"}"#, r#"{"a":1.0,"b":"_id"}"#, None),
            (r#"{"_id":"x"}"#, "{}", Some(json!("x"))),
            (
                r#"{ "a" : 1e2, "_id" : null , "_version":{"a":[1,2]},"_ids":"\u0041"}"#,
                r#"{"a" : 1e2,"_ids":"\u0041"}"#,
                Some(json!(null)),
            ),
            (
                r#"{"\u005fid":7,"b":{"_id":1}}"#,
                r#"{"b":{"_id":1}}"#,
                Some(json!(7)),
            ),
            (
                r#"{"_id":"x","c":[],"_id":"y"}"#,
                r#"{"c":[]}"#,
                Some(json!("y")),
            ),
        ] {
            let (kept, found) = without_columns(json.as_bytes().to_vec()).unwrap();
            assert_eq!(String::from_utf8(kept).unwrap(), stored);
            let found = found.map(|id| serde_json::from_slice::<Value>(&id).unwrap());
            assert_eq!(found, id, "{json}");
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

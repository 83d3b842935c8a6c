//! Documents as they are read: the JSON of a row, with the id and the version of its columns.

use crate::database::position::get_u64;
use crate::database::{Jsonb, get};
use crate::pongo::error::Result;
use memchr::memmem;
use postgres::Row;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::Write;

/// The columns that a statement reads of a document; see [`StoredDocument::of_row`].
pub(crate) const DOCUMENT: &str = "data, _id, _version";

/// The fields that come from columns, regardless of the JSON, as `jsonb` writes them. It escapes nothing in these names.
const COLUMNS: [&[u8]; 2] = [b"\"_id\":", b"\"_version\":"];

/// A document in a row.
pub(crate) struct StoredDocument<'r> {
    pub(crate) data: &'r [u8],
    pub(crate) id: &'r str,
    pub(crate) version: u64,
}

impl<'r> StoredDocument<'r> {
    /// Returns the document in the first three columns of a row, which are the columns of [`DOCUMENT`].
    pub(crate) fn of_row(row: &'r Row) -> Result<Self> {
        Ok(Self {
            data: get::<Jsonb<'r>>(row, 0)?.0,
            id: get(row, 1)?,
            version: get_u64(row, 2)?,
        })
    }

    /// Returns the JSON with the id and the version. The client adds them, because `jsonb ||` is more expensive on the server.
    pub(crate) fn json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(self.data.len() + self.id.len() + 40);
        json.extend_from_slice(self.data);
        // `jsonb` is valid JSON. A value that is no object has no fields.
        if names_columns(self.data)
            && let Ok((own, _)) = without_columns(self.data.to_vec())
        {
            json = own;
        }
        if json.pop_if(|last| *last == b'}').is_none() {
            return json;
        }
        let comma = if json.last() == Some(&b'{') { "" } else { "," };
        // Writing to memory does not fail.
        let _ = write!(json, "{comma}\"_id\":");
        let _ = serde_json::to_writer(&mut json, self.id);
        let _ = write!(json, ",\"_version\":{}}}", self.version);
        json
    }
}

/// Returns whether an object in the JSON, at any depth, has a field with the name of a column. The JSON is as `jsonb` writes
/// it.
fn names_columns(data: &[u8]) -> bool {
    COLUMNS
        .iter()
        .any(|name| memmem::find(data, name).is_some())
}

/// Returns the fields of an object, each value verbatim. Of two fields of one name the last one counts, as in `jsonb`. The
/// order of the fields is not kept, as in `jsonb`.
pub(crate) fn fields(json: &[u8]) -> serde_json::Result<BTreeMap<String, &RawValue>> {
    serde_json::from_slice(json)
}

/// Returns the JSON of an object without the fields that come from columns, and the JSON of its id.
pub(crate) fn without_columns(json: Vec<u8>) -> serde_json::Result<(Vec<u8>, Option<String>)> {
    if !may_name_columns(&json) {
        return Ok((json, None));
    }
    let mut fields = fields(&json)?;
    fields.remove("_version");
    let id = fields.remove("_id").map(|id| id.get().to_owned());
    Ok((serde_json::to_vec(&fields)?, id))
}

/// Returns whether the JSON may have a field with the name of a column. Such a name begins with an underscore, which may be
/// escaped.
fn may_name_columns(json: &[u8]) -> bool {
    memmem::find(json, b"\"_").is_some() || memmem::find(json, b"\\u").is_some()
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
                r#"{"_ids":"\u0041","a":1e2}"#,
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
            let found = found.map(|id| serde_json::from_str::<Value>(&id).unwrap());
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

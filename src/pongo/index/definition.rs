//! The definition of an index: its columns, its name, and the comment that records both.

use crate::database::TextDigest;
use crate::pongo::error::{Error, Result};
use crate::pongo::filter::{FilterError, Target};
use serde::{Deserialize, Serialize};

/// PostgreSQL truncates longer names.
pub(super) const LONGEST_NAME: usize = 63;

/// Length of the digest that distinguishes shortened names.
pub(super) const DIGEST_LENGTH: usize = 8;

/// Keeps the placeholders in a unique index distinct, because they have no fields. A projection locks a missing document by a
/// row of version 0.
const PLACEHOLDER: &str = "(CASE WHEN _version = 0 THEN _id ELSE '' END)";

/// Prefix of the comment that records the index's definition.
const COMMENT: &str = "emmett-postgresql ";

/// The properties that identify an index. Equal definitions are the same index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexDefinition {
    /// Empty for the whole document.
    pub(crate) fields: Vec<String>,
    pub(crate) unique: bool,
    pub(crate) sparse: bool,
}

/// The content of an index's comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexNote {
    #[serde(flatten)]
    pub(crate) definition: IndexDefinition,
    /// Whether the name was set explicitly. Otherwise it follows from the collection and the definition.
    pub(crate) has_own_name: bool,
}

impl IndexDefinition {
    /// Returns the columns of the index. The schema is quoted.
    pub(super) fn columns(&self, schema: &str) -> Result<String> {
        if self.fields.is_empty() {
            return Ok("USING gin (data jsonb_path_ops)".to_owned());
        }
        let targets = self.targets()?;
        let keys = targets.iter().map(|target| target.index_expression(schema));
        let mut columns = vec!["_partition".to_owned()];
        columns.extend(keys);
        if self.unique {
            columns.extend(targets.iter().filter_map(Target::container_expression));
            columns.push(PLACEHOLDER.to_owned());
        }
        Ok(format!("({})", columns.join(", ")))
    }

    pub(super) fn condition(&self) -> Result<String> {
        if !self.sparse {
            return Ok(String::new());
        }
        let targets = self.targets()?;
        let present: Vec<String> = targets.iter().map(Target::index_presence).collect();
        Ok(format!(" WHERE {}", present.join(" OR ")))
    }

    fn targets(&self) -> Result<Vec<Target>> {
        let fields = self.fields.iter();
        fields
            .map(|field| Target::parse(field).map_err(|error| refused(field, error)))
            .collect()
    }

    /// Returns the default name of the index.
    pub(crate) fn name(&self, collection: &str) -> String {
        let ending = if self.unique { "_key" } else { "_idx" };
        let fields: Vec<String> = self.fields.iter().map(|field| snake_case(field)).collect();
        let fields = if fields.is_empty() {
            "document".to_owned()
        } else {
            fields.join("_")
        };
        let body = format!("{collection}_{fields}");
        if body.len() + ending.len() <= LONGEST_NAME {
            return body + ending;
        }
        let digest = TextDigest::from(body.as_str()).text();
        let kept = LONGEST_NAME - ending.len() - DIGEST_LENGTH - 1;
        let digest = &digest[..DIGEST_LENGTH];
        format!("{}_{digest}{ending}", beginning(&body, kept))
    }

    /// Describes the index in words, for messages.
    pub(crate) fn describe(&self) -> String {
        let kind = match (self.unique, self.sparse) {
            (true, true) => "unique and sparse, ",
            (true, false) => "unique, ",
            (false, _) => "",
        };
        if self.fields.is_empty() {
            return "on the whole document".to_owned();
        }
        format!("{kind}on {}", self.fields.join(", "))
    }
}

impl IndexNote {
    pub(super) fn to_comment(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{COMMENT}{json}")
    }

    /// Parses a comment. Returns `None` for a comment that this library did not write.
    pub(crate) fn parse(comment: &str) -> Option<Self> {
        serde_json::from_str(comment.strip_prefix(COMMENT)?).ok()
    }
}

/// Returns the error of a field that cannot be indexed.
fn refused(field: &str, error: FilterError) -> Error {
    let reason = match error {
        FilterError::InvalidPath { reason, .. } => reason.to_owned(),
        other => other.to_string(),
    };
    Error::invalid(format!("the field {field:?} of an index"), reason)
}

/// Returns the longest prefix of a text that has at most this many bytes.
fn beginning(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Converts `address.zipCode` to `address_zip_code`.
fn snake_case(path: &str) -> String {
    let mut name = String::with_capacity(path.len() + 4);
    let mut after_lower = false;
    for character in path.chars() {
        if character.is_uppercase() && after_lower {
            name.push('_');
        }
        after_lower = character.is_lowercase() || character.is_numeric();
        if character.is_alphanumeric() {
            name.extend(character.to_lowercase());
        } else {
            name.push('_');
        }
    }
    name
}

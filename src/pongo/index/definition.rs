//! What makes an index: the columns that it lists, its name, and the comment that keeps both.

use crate::database::TextDigest;
use crate::pongo::error::{Error, Result};
use crate::pongo::filter::{FilterError, Target};
use serde::{Deserialize, Serialize};

/// PostgreSQL cuts longer names off.
pub(super) const LONGEST_NAME: usize = 63;

/// The part of a digest that tells apart names which had to be shortened.
pub(super) const DIGEST_LENGTH: usize = 8;

/// Keeps the placeholders of a unique index apart, which have no fields: a projection locks a document that does not exist
/// by a row of version 0.
const PLACEHOLDER: &str = "(CASE WHEN _version = 0 THEN _id ELSE '' END)";

/// How the comment begins that keeps what an index was created as.
const COMMENT: &str = "emmett-postgresql ";

/// What makes an index the same as another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexDefinition {
    /// None for the whole document.
    pub(crate) fields: Vec<String>,
    pub(crate) unique: bool,
    pub(crate) sparse: bool,
}

/// What the comment of an index says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexNote {
    #[serde(flatten)]
    pub(crate) definition: IndexDefinition,
    /// Its name follows from the collection and the definition.
    pub(crate) has_own_name: bool,
}

impl IndexDefinition {
    /// What the index lists; the schema is quoted.
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

    /// The name that an index has where it was given none.
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

    /// In words, for messages.
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

    /// What a comment says; `None` for one of somebody else.
    pub(crate) fn parse(comment: &str) -> Option<Self> {
        serde_json::from_str(comment.strip_prefix(COMMENT)?).ok()
    }
}

/// The error of a field that an index cannot be on.
fn refused(field: &str, error: FilterError) -> Error {
    let reason = match error {
        FilterError::InvalidPath { reason, .. } => reason.to_owned(),
        other => other.to_string(),
    };
    Error::invalid(format!("the field {field:?} of an index"), reason)
}

/// The longest beginning of a text that has no more bytes.
fn beginning(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// `address.zipCode` as `address_zip_code`.
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

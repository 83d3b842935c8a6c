//! JSON that PostgreSQL's `jsonb` can keep and `serde_json` can read back.
//!
//! `serde_json` writes NaN as `null`, nests deeper than it can read, and writes U+0000, which `jsonb` refuses.
//! Everything that goes into the database passes here and is refused before anything is sent. It also reads a float where
//! the text has a longer number; a document that comes back passes here, too, and is refused instead.

mod exact;
mod number;
mod stored;
mod strict;
#[cfg(test)]
mod tests;
mod text;

use serde::Serialize;
use serde_json::Value;
use strict::{Finding, JsonbFormatter, Strict};

pub(crate) use stored::from_stored;
pub(crate) use text::check_json_text;

/// The deepest nesting of arrays and objects that `serde_json` reads back: its limit of 128 refuses the 128th level.
pub(crate) const DEPTH_LIMIT: usize = 127;

/// Why a value cannot be kept as `jsonb`, or a kept one not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// A float is NaN or infinite. JSON has no such number; `serde_json` alone would write `null`.
    #[error("{place} is NaN or infinite, and JSON has no such number")]
    #[non_exhaustive]
    NotFinite {
        /// The field, as in "`lines.0.price`".
        place: String,
    },

    /// A string or a key contains the character U+0000, which PostgreSQL cannot store.
    #[error("{place} contains the character U+0000, which PostgreSQL cannot store")]
    #[non_exhaustive]
    NulCharacter {
        /// The field, or the byte of the JSON text.
        place: String,
    },

    /// Raw JSON contains half of a surrogate pair, as in `"\ud83d"`.
    #[error("{place} escapes half of a surrogate pair, which is not a character")]
    #[non_exhaustive]
    LoneSurrogate {
        /// The field and the byte of its JSON text.
        place: String,
    },

    /// Raw JSON contains a number that is too large or too precise for PostgreSQL's `numeric`.
    #[error(
        "{place} is beyond what jsonb holds: 131072 digits before the decimal point, 16383 after it"
    )]
    #[non_exhaustive]
    NumberOutOfRange {
        /// The field and the byte of its JSON text.
        place: String,
    },

    /// Arrays and objects are nested so deep that `serde_json` could not read them back.
    #[error("the JSON is nested deeper than {limit} levels and could not be read back")]
    #[non_exhaustive]
    TooDeep {
        /// The deepest nesting that can be read back.
        limit: usize,
    },

    /// A stored number would have become another one, because it was read into a type that takes any JSON, as
    /// `serde_json::Value`, untagged enums and flattened fields do, and `serde_json` gives those a float.
    #[error(
        "a float would change the number {number}; read it exactly with a field of type Box<RawValue>, i128, u128 or of a \
         decimal type that is kept as a string, or rounded with a field of type f64"
    )]
    #[non_exhaustive]
    BeyondF64 {
        /// The number, cut after 60 characters.
        number: String,
    },

    /// The value has no form in JSON, for example a map whose keys are not strings or numbers.
    #[error("the value cannot be written as JSON")]
    Serde(#[source] serde_json::Error),

    /// Stored JSON is not of the form that the type has.
    #[error("the stored JSON does not fit the type")]
    Unfit(#[source] serde_json::Error),

    /// A text that should be JSON is not.
    #[error("the text is not valid JSON")]
    Syntax(#[source] serde_json::Error),
}

/// What can be wrong with a value that `serde_json` would write without complaint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    NotFinite,
    NulCharacter,
    LoneSurrogate,
    NumberOutOfRange,
    TooDeep,
}

impl Fault {
    fn at(self, place: String) -> JsonError {
        match self {
            Self::NotFinite => JsonError::NotFinite { place },
            Self::NulCharacter => JsonError::NulCharacter { place },
            Self::LoneSurrogate => JsonError::LoneSurrogate { place },
            Self::NumberOutOfRange => JsonError::NumberOutOfRange { place },
            Self::TooDeep => JsonError::TooDeep { limit: DEPTH_LIMIT },
        }
    }
}

/// The JSON type of a value, as messages name it.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Writes a value as compact JSON.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JsonError> {
    let ((), json) =
        write_json(|serializer| value.serialize(serializer).map_err(JsonError::Serde))?;
    Ok(json)
}

/// The serializer behind [`to_json`].
type JsonSerializer<'json, 'finding> =
    Strict<'finding, &'json mut serde_json::Serializer<Vec<u8>, JsonbFormatter<'finding>>>;

/// Lets `write` write one JSON value; returns what it returns, and the JSON.
pub(crate) fn write_json<R, E: From<JsonError>>(
    write: impl FnOnce(JsonSerializer<'_, '_>) -> Result<R, E>,
) -> Result<(R, Vec<u8>), E> {
    let finding = Finding::default();
    let formatter = JsonbFormatter::new(&finding);
    let mut json = serde_json::Serializer::with_formatter(Vec::with_capacity(128), formatter);

    let written = write(Strict::new(&mut json, &finding));

    // Also when `write` succeeded: a `Serialize` that swallows an error leaves half a value behind.
    match finding.to_error() {
        Some(error) => Err(error.into()),
        None => Ok((written?, json.into_inner())),
    }
}

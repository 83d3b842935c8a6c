//! Errors of JSON values.

/// Maximum nesting of arrays and objects that `serde_json` reads back: its limit of 128 refuses the 128th level.
pub(crate) const DEPTH_LIMIT: usize = 127;

/// Why a value cannot be stored as `jsonb`, or a stored value cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// A float is NaN or infinite. JSON cannot represent it; `serde_json` alone would write `null`.
    #[error("{place} is NaN or infinite, and JSON has no such number")]
    #[non_exhaustive]
    NotFinite {
        /// The field, such as "`lines.0.price`".
        place: String,
    },

    /// A string or a key contains the character U+0000, which PostgreSQL cannot store.
    #[error("{place} contains the character U+0000, which PostgreSQL cannot store")]
    #[non_exhaustive]
    NulCharacter {
        /// The field, or the byte of the JSON text.
        place: String,
    },

    /// Raw JSON contains half of a surrogate pair, such as `"\\ud83d"`.
    #[error("{place} escapes half of a surrogate pair, which is not a character")]
    #[non_exhaustive]
    LoneSurrogate {
        /// The field, and the byte of its JSON text.
        place: String,
    },

    /// Raw JSON contains a number that is too large or too precise for PostgreSQL's `numeric`.
    #[error(
        "{place} is beyond the range of jsonb: 131072 digits before the decimal point, 16383 after it"
    )]
    #[non_exhaustive]
    NumberOutOfRange {
        /// The field, and the byte of its JSON text.
        place: String,
    },

    /// Arrays and objects are nested too deep for `serde_json` to read them back.
    #[error("the JSON is nested deeper than {limit} levels and could not be read back")]
    #[non_exhaustive]
    TooDeep {
        /// Maximum nesting that can be read back.
        limit: usize,
    },

    /// A stored number would be changed. The target type takes any JSON, as `serde_json::Value`, untagged enums and
    /// flattened fields do, and `serde_json` passes such types a float.
    #[error(
        "a float would change the number {number}; read it exactly with a field of type Box<RawValue>, i128, u128 or of a \
         decimal type that is kept as a string, or rounded with a field of type f64"
    )]
    #[non_exhaustive]
    BeyondF64 {
        /// The number, truncated after 60 characters.
        number: String,
    },

    /// The value has no JSON representation, such as a map whose keys are neither strings nor numbers.
    #[error("the value cannot be written as JSON")]
    Serde(#[source] serde_json::Error),

    /// The structure of the stored JSON differs from the type's.
    #[error("the stored JSON does not fit the type")]
    Unfit(#[source] serde_json::Error),

    /// A text is not valid JSON.
    #[error("the text is not valid JSON")]
    Syntax(#[source] serde_json::Error),
}

/// Problems of a value that `serde_json` would write without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    NotFinite,
    NulCharacter,
    LoneSurrogate,
    NumberOutOfRange,
    TooDeep,
}

impl Fault {
    pub(super) fn at(self, place: String) -> JsonError {
        match self {
            Self::NotFinite => JsonError::NotFinite { place },
            Self::NulCharacter => JsonError::NulCharacter { place },
            Self::LoneSurrogate => JsonError::LoneSurrogate { place },
            Self::NumberOutOfRange => JsonError::NumberOutOfRange { place },
            Self::TooDeep => JsonError::TooDeep { limit: DEPTH_LIMIT },
        }
    }
}

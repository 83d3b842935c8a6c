//! What can be wrong with JSON.

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

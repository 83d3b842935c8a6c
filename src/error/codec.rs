//! Why an event enum and what a row keeps of it do not fit.

use crate::json::JsonError;
use serde::{de, ser};
use std::fmt::Display;

const NEEDS_DEFAULT_REPRESENTATION: &str = "cannot be split into message type and data: \
    derive Serialize and Deserialize on an enum with serde's default (externally tagged) \
    representation, without `tag`, `content` and `untagged`";

/// Why an event cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The type is not an enum in serde's default representation.
    #[error("`{event_type}` {NEEDS_DEFAULT_REPRESENTATION}")]
    #[non_exhaustive]
    OtherRepresentation {
        /// The Rust type.
        event_type: &'static str,
    },

    /// The enum would not read what it writes.
    #[error(
        "`{event_type}` writes the message type `{message_type}`, which it does not read: its Serialize and Deserialize \
         name the variant differently, or one of them skips it"
    )]
    #[non_exhaustive]
    UnreadableType {
        /// The Rust type.
        event_type: &'static str,
        /// The message type that it writes.
        message_type: &'static str,
    },

    /// The content cannot be kept as JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
}

impl From<serde_json::Error> for EncodeError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(JsonError::Serde(error))
    }
}

impl ser::Error for EncodeError {
    fn custom<T: Display>(message: T) -> Self {
        <serde_json::Error as ser::Error>::custom(message).into()
    }
}

/// Why a row cannot be read as an event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The enum has no such variant.
    #[error("the message type `{message_type}` is unknown")]
    #[non_exhaustive]
    UnknownType {
        /// The stored message type.
        message_type: String,
    },

    /// The type is not an enum in serde's default representation.
    #[error("`{event_type}` {NEEDS_DEFAULT_REPRESENTATION}")]
    #[non_exhaustive]
    OtherRepresentation {
        /// The Rust type.
        event_type: &'static str,
    },

    /// The data is not what the variant contains.
    #[error("the data does not fit the event")]
    Json(#[from] serde_json::Error),
}

impl de::Error for DecodeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Json(de::Error::custom(message))
    }

    fn unknown_variant(variant: &str, _expected: &'static [&'static str]) -> Self {
        Self::UnknownType {
            message_type: variant.to_owned(),
        }
    }
}

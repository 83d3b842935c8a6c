//! Mismatches between an event enum and a stored row.

use crate::json::JsonError;
use serde::{de, ser};
use std::fmt::Display;

const NEEDS_DEFAULT_REPRESENTATION: &str = "cannot be split into message type and data: \
    derive Serialize and Deserialize on an enum with serde's default (externally tagged) \
    representation, without `tag`, `content` and `untagged`";

/// Why an event cannot be encoded.
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

    /// The enum cannot read a message type that it writes.
    #[error(
        "`{event_type}` writes the message type `{message_type}`, but cannot read it: its Serialize and Deserialize \
         name the variant differently, or one of them skips it"
    )]
    #[non_exhaustive]
    UnreadableType {
        /// The Rust type.
        event_type: &'static str,
        /// The message type that it writes.
        message_type: &'static str,
    },

    /// The content cannot be stored as JSON.
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

/// Why a row cannot be decoded as an event.
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

    /// The kind denotes neither an event nor a command.
    #[error("the message kind `{kind}` is neither `E` nor `C`")]
    #[non_exhaustive]
    UnknownKind {
        /// The stored kind.
        kind: String,
    },

    /// The schema version is not a number.
    #[error("the schema version `{version}` is not a number from 0 to 4294967295")]
    #[non_exhaustive]
    SchemaVersion {
        /// The stored version.
        version: String,
    },

    /// The metadata is not an object, or its correlation id or causation id is not a string.
    #[error("the metadata {reason}")]
    #[non_exhaustive]
    Metadata {
        /// The problem with it.
        reason: String,
    },

    /// The data does not match the content of the variant.
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

//! Converts between an event enum and a row: the message type is the variant's name, the data its content.
//!
//! The format is serde's default, externally tagged representation `{"ItemAdded": {..}}`, split at the colon. Unit variants
//! have the data `{}`.

mod decode;
mod encode;
mod known_types;
#[cfg(test)]
mod tests;

pub(crate) use {
    decode::decode_event,
    encode::encode_event,
    known_types::{KnownTypes, known_types},
};

//! Between an event enum and what a row keeps of it: the message type (the variant's name) and the data (its content).
//!
//! This is serde's default, externally tagged representation `{"ItemAdded": {..}}`, split at the colon. Unit variants have
//! the data `{}`.

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

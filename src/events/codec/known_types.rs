//! The message types that an event enum can read.

use std::cell::Cell;
use std::panic::catch_unwind;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::decode_event;
use crate::error::DecodeError;

type Result<T, E = DecodeError> = std::result::Result<T, E>;

/// The message types that an event enum can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KnownTypes {
    /// All types: the enum has `#[serde(other)]`, or its types cannot be determined.
    Any,
    /// These types, aliases included.
    Listed(&'static [&'static str]),
}

/// PostgreSQL stores no U+0000, so no row has this type.
const IMPOSSIBLE_TYPE: &str = "\0";

/// Determines which message types `E` can read.
pub(crate) fn known_types<E: DeserializeOwned>() -> KnownTypes {
    // A hand-written `Deserialize` may panic at a name that is not its own.
    catch_unwind(probe::<E>).unwrap_or(KnownTypes::Any)
}

fn probe<E: DeserializeOwned>() -> KnownTypes {
    let Some(variants) = listed_variants::<E>().filter(|variants| !variants.is_empty()) else {
        return KnownTypes::Any;
    };
    match decode_event::<E>(IMPOSSIBLE_TYPE, b"{}") {
        Err(DecodeError::UnknownType { .. }) => KnownTypes::Listed(variants),
        _ => KnownTypes::Any,
    }
}

/// Returns the names that `E` passes to `deserialize_enum`; `None` if `E` is not an enum in the default representation.
#[inline]
pub(super) fn listed_variants<E: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let variants = Cell::new(None);
    let _ = E::deserialize(VariantsProbe {
        variants: &variants,
    });
    variants.get()
}

/// Records the names of the variants and deserializes nothing.
struct VariantsProbe<'probe> {
    variants: &'probe Cell<Option<&'static [&'static str]>>,
}

impl<'de> Deserializer<'de> for VariantsProbe<'_> {
    type Error = DecodeError;

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value> {
        self.variants.set(Some(variants));
        Err(NOTHING_TO_READ)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
        Err(NOTHING_TO_READ)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

const NOTHING_TO_READ: DecodeError = DecodeError::UnknownType {
    message_type: String::new(),
};

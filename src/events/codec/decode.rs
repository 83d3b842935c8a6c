//! From a message type and data to an event.

use std::any::type_name;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::de::SliceRead;

use crate::error::DecodeError;

type Result<T, E = DecodeError> = std::result::Result<T, E>;

/// Decodes an event from its message type and its data.
pub(crate) fn decode_event<E: DeserializeOwned>(message_type: &str, data: &[u8]) -> Result<E> {
    let mut json = serde_json::Deserializer::from_slice(data);
    let event = E::deserialize(EventDeserializer {
        event_type: type_name::<E>(),
        message_type,
        json: &mut json,
    })?;
    json.end()?;
    Ok(event)
}

/// Presents the message type as an enum's variant and the data as its content. Refuses every other type.
struct EventDeserializer<'json, 'de> {
    event_type: &'static str,
    message_type: &'json str,
    json: &'json mut serde_json::Deserializer<SliceRead<'de>>,
}

impl<'de> Deserializer<'de> for EventDeserializer<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
        Err(DecodeError::OtherRepresentation {
            event_type: self.event_type,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for EventDeserializer<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        let variant = seed.deserialize(StrDeserializer::<DecodeError>::new(self.message_type))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for EventDeserializer<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<()> {
        Ok(self.json.deserialize_any(UnitContent)?)
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        Ok(seed.deserialize(self.json)?)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        Ok(self.json.deserialize_tuple(len, visitor)?)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        Ok(self.json.deserialize_struct("", fields, visitor)?)
    }
}

/// Content that a unit variant accepts: `{}`, `null`, and an object from an older version of the variant, which had fields.
struct UnitContent;

impl<'de> Visitor<'de> for UnitContent {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

//! Reading stored JSON: a deserializer that passes numbers on exactly or not at all.
//!
//! A type that asks for a float gets the nearest one. A type that asks for an integer or for raw JSON gets the exact number.
//! A type that takes anything, such as `serde_json::Value` or an untagged enum, would silently get the nearest float. The
//! number is refused instead.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::value::RawValue;

use super::number::has_number_beyond_f64;
use super::{JsonError, check_json_text};

/// Maximum number of digits in an error: the longest number has 147455.
const SHOWN_DIGITS: usize = 60;

/// Reads stored JSON. A number is passed on as it is, or as the nearest float where a float is asked for.
pub(crate) fn from_stored<T: DeserializeOwned>(json: &[u8]) -> Result<T, JsonError> {
    if !has_number_beyond_f64(json) {
        return serde_json::from_slice(json).map_err(JsonError::Unfit);
    }
    // `Exact` starts the count of levels anew again and again.
    check_json_text(json)?;
    let refused = Refused::default();
    let mut document = serde_json::Deserializer::from_slice(json);
    T::deserialize(Exact::new(&mut document, &refused)).map_err(|source| refused.to_error(source))
}

/// The refused number. It is returned beside serde's error, which carries only a message.
#[derive(Debug, Default)]
struct Refused {
    number: RefCell<Option<String>>,
}

impl Refused {
    #[cold]
    fn refuse<E: serde::de::Error>(&self, number: &str) -> E {
        let shown = match number.get(..SHOWN_DIGITS) {
            Some(beginning) if number.len() > SHOWN_DIGITS => format!("{beginning}…"),
            _ => number.to_owned(),
        };
        self.number.replace(Some(shown));
        E::custom("refused: a float would change the number")
    }

    fn to_error(&self, source: serde_json::Error) -> JsonError {
        match self.number.take() {
            Some(number) => JsonError::BeyondF64 { number },
            None => JsonError::Unfit(source),
        }
    }
}

/// Forwards to a part of `serde_json`'s deserializer, and wraps every part that it passes on.
#[derive(Debug)]
struct Exact<'refused, T> {
    inner: T,
    refused: &'refused Refused,
}

impl<'refused, T> Exact<'refused, T> {
    fn new(inner: T, refused: &'refused Refused) -> Self {
        Self { inner, refused }
    }

    fn around<U>(&self, inner: U) -> Exact<'refused, U> {
        Exact::new(inner, self.refused)
    }
}

macro_rules! forward {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

macro_rules! forward_nested {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.around(visitor);
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Exact<'_, D> {
    type Error = D::Error;

    forward! {
        deserialize_bool deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_unit deserialize_identifier deserialize_ignored_any
    }

    forward_nested! {
        deserialize_option() deserialize_seq() deserialize_map()
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    /// Checks the number before a visitor gets it, because its text is lost afterwards.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let visitor = self.around(visitor);
        let json = <&'de RawValue>::deserialize(self.inner)?.get();
        let mut value = serde_json::Deserializer::from_str(json);
        let read = match (has_number_beyond_f64(json.as_bytes()), json.as_bytes()) {
            (false, _) => value.deserialize_any(visitor.inner),
            (true, [b'[' | b'{', ..]) => value.deserialize_any(visitor),
            (true, _) => return Err(self.refused.refuse(json)),
        };
        read.map_err(D::Error::custom)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Exact<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(formatter)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.around(deserializer);
        self.inner.visit_some(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        let deserializer = self.around(deserializer);
        self.inner.visit_newtype_struct(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        let elements = self.around(elements);
        self.inner.visit_seq(elements)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let entries = self.around(entries);
        self.inner.visit_map(entries)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        let variant = self.around(variant);
        self.inner.visit_enum(variant)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Exact<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.around(deserializer);
        self.inner.deserialize(deserializer)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Exact<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// Keys are strings and need no check.
impl<'de, A: MapAccess<'de>> MapAccess<'de> for Exact<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.around(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'refused, A: EnumAccess<'de>> EnumAccess<'de> for Exact<'refused, A> {
    type Error = A::Error;
    type Variant = Exact<'refused, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (variant, content) = self.inner.variant_seed(seed)?;
        Ok((variant, Exact::new(content, self.refused)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Exact<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.around(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}

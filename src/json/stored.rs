//! Documents as a collection returns them: with `_id` and `_version` beside their own fields.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, IntoDeserializer,
    MapAccess, SeqAccess, Visitor,
};

use super::exact::{Exact, Refused};
use super::number::has_number_beyond_f64;
use super::{JsonError, check_json_text};

/// Fields that a collection adds to a document.
const ADDED: [&str; 2] = ["_id", "_version"];

/// Reads a stored document. `_id` and `_version` are hidden from a struct or an enum that does not name them. It may
/// therefore refuse unknown fields. A map sees them. A number is passed on exactly, or as the nearest float to a type that
/// asks for a float.
pub(crate) fn from_stored<T: DeserializeOwned>(json: &[u8]) -> Result<T, JsonError> {
    let mut document = serde_json::Deserializer::from_slice(json);
    if has_number_beyond_f64(json) {
        // `Exact` restarts the count of levels repeatedly.
        check_json_text(json)?;
        let refused = Refused::default();
        return T::deserialize(Stored(Exact::new(&mut document, &refused)))
            .map_err(|source| refused.to_error(source));
    }
    T::deserialize(Stored(&mut document))
        .and_then(|read| document.end().map(|()| read))
        .map_err(JsonError::Unfit)
}

/// Forwards to another deserializer, and hides the fields [`ADDED`] from structs and enums.
#[derive(Debug)]
struct Stored<D>(D);

macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Stored<D> {
    type Error = D::Error;

    forward! {
        deserialize_any() deserialize_ignored_any() deserialize_identifier()
        deserialize_bool() deserialize_char() deserialize_str() deserialize_string()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_bytes() deserialize_byte_buf() deserialize_unit()
        deserialize_seq() deserialize_map()
        deserialize_unit_struct(name: &'static str)
        deserialize_tuple(len: usize) deserialize_tuple_struct(name: &'static str, len: usize)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Inside(visitor))
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Inside(visitor))
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = Struct { visitor, fields };
        self.0.deserialize_struct(name, fields, visitor)
    }

    /// An enum is an object with one field; two more fields would make it invalid.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Enum { visitor, variants })
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// The visitor of an option or a newtype that contains the document.
struct Inside<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Inside<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Stored(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Stored(deserializer))
    }

    /// `serde_json` passes raw JSON this way.
    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(entries)
    }
}

struct Struct<V> {
    visitor: V,
    fields: &'static [&'static str],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Struct<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(formatter)
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Asked::of(entries, self.fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(elements)
    }
}

struct Enum<V> {
    visitor: V,
    variants: &'static [&'static str],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Enum<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(formatter)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let mut entries = Asked::of(entries, self.variants);
        let variant = MapAccessDeserializer::new(&mut entries);
        let value = self.visitor.visit_enum(variant)?;
        match entries.next_key::<IgnoredAny>()? {
            None => Ok(value),
            Some(_) => Err(A::Error::custom("a second field beside the enum's variant")),
        }
    }
}

/// The fields of a document without the [`ADDED`] ones that the type does not name.
struct Asked<A> {
    entries: A,
    hidden: [Option<&'static str>; 2],
}

impl<A> Asked<A> {
    #[inline]
    fn of(entries: A, fields: &[&str]) -> Self {
        let hidden = ADDED.map(|added| (!fields.contains(&added)).then_some(added));
        Self { entries, hidden }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Asked<A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let mut seed = Some(seed);
        loop {
            let key = Key {
                seed: &mut seed,
                hidden: self.hidden,
            };
            match self.entries.next_key_seed(key)? {
                None => return Ok(None),
                Some(Some(key)) => return Ok(Some(key)),
                Some(None) => self.entries.next_value::<IgnoredAny>()?,
            };
        }
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.entries.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.entries.size_hint()
    }
}

/// Passes a key to its seed. For a hidden key, the seed waits for the next one.
struct Key<'seed, S> {
    seed: &'seed mut Option<S>,
    hidden: [Option<&'static str>; 2],
}

impl<S> Key<'_, S> {
    #[inline]
    fn seed_of(&mut self, key: &str) -> Option<S> {
        if self.hidden.contains(&Some(key)) {
            return None;
        }
        self.seed.take()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<'_, S> {
    type Value = Option<S::Value>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Key<'_, S> {
    type Value = Option<S::Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field's name")
    }

    #[inline]
    fn visit_borrowed_str<E: serde::de::Error>(mut self, key: &'de str) -> Result<Self::Value, E> {
        let seed = self.seed_of(key);
        seed.map(|seed| seed.deserialize(BorrowedStrDeserializer::new(key)))
            .transpose()
    }

    #[inline]
    fn visit_str<E: serde::de::Error>(mut self, key: &str) -> Result<Self::Value, E> {
        let seed = self.seed_of(key);
        seed.map(|seed| seed.deserialize(key.into_deserializer()))
            .transpose()
    }
}

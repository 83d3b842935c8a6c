//! From an event to its message type and data.

use std::any::type_name;

use serde::de::DeserializeOwned;
use serde::ser::{self, Impossible, Serialize, SerializeStruct, SerializeTuple, Serializer};

use super::known_types::listed_variants;
use crate::error::EncodeError;
use crate::json::write_json;

type Result<T, E = EncodeError> = std::result::Result<T, E>;
/// The name of a type, a variant or a field.
type Name = &'static str;

/// An event in the form in which a row stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncodedEvent {
    pub(crate) message_type: &'static str,
    /// JSON.
    pub(crate) data: Vec<u8>,
}

/// Splits an event into its message type and its data.
pub(crate) fn encode_event<E: Serialize + DeserializeOwned>(event: &E) -> Result<EncodedEvent> {
    let event_type = type_name::<E>();
    let (message_type, data) =
        write_json(|data| event.serialize(EventSerializer { event_type, data }))?;
    let readable = listed_variants::<E>().ok_or(EncodeError::OtherRepresentation { event_type })?;
    // A hand-written `Deserialize` may list no names: the list is only a hint.
    if readable.is_empty() || readable.contains(&message_type) {
        return Ok(EncodedEvent { message_type, data });
    }
    Err(EncodeError::UnreadableType {
        event_type,
        message_type,
    })
}

/// Takes an enum variant, writes its content to `data`, and returns its name. Refuses everything else.
struct EventSerializer<S> {
    event_type: &'static str,
    data: S,
}

impl<S> EventSerializer<S> {
    fn refuse<T>(&self) -> Result<T> {
        Err(EncodeError::OtherRepresentation {
            event_type: self.event_type,
        })
    }
}

/// The content of a tuple or struct variant.
struct VariantContent<C> {
    variant: Name,
    data: C,
}

macro_rules! refuse {
    ($($method:ident($($type:ty),*) $(-> $content:ident)?;)*) => {$(
        refuse!(@ $method($(_: $type),*) $($content)?);
    )*};
    (@ $method:ident($($argument:tt)*)) => {
        fn $method(self, $($argument)*) -> Result<Name> {
            self.refuse()
        }
    };
    (@ $method:ident($($argument:tt)*) $content:ident) => {
        type $content = Impossible<Name, EncodeError>;

        fn $method(self, $($argument)*) -> Result<Self::$content> {
            self.refuse()
        }
    };
}

impl<S: Serializer<Ok = (), Error = serde_json::Error>> Serializer for EventSerializer<S> {
    type Ok = Name;
    type Error = EncodeError;
    type SerializeTupleVariant = VariantContent<S::SerializeTuple>;
    type SerializeStructVariant = VariantContent<S::SerializeStruct>;

    #[inline]
    fn serialize_unit_variant(self, _: Name, _: u32, variant: Name) -> Result<Name> {
        self.data.serialize_struct("", 0)?.end()?;
        Ok(variant)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: Name,
        _: u32,
        variant: Name,
        value: &T,
    ) -> Result<Name> {
        value.serialize(self.data)?;
        Ok(variant)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: Name,
        _: u32,
        variant: Name,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        let data = self.data.serialize_tuple(len)?;
        Ok(VariantContent { variant, data })
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: Name,
        _: u32,
        variant: Name,
        len: usize,
    ) -> Result<Self::SerializeStructVariant> {
        let data = self.data.serialize_struct("", len)?;
        Ok(VariantContent { variant, data })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: Name, value: &T) -> Result<Name> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Name> {
        self.refuse()
    }

    refuse! {
        serialize_bool(bool); serialize_char(char); serialize_str(&str); serialize_bytes(&[u8]);
        serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64); serialize_i128(i128);
        serialize_u8(u8); serialize_u16(u16); serialize_u32(u32); serialize_u64(u64); serialize_u128(u128);
        serialize_f32(f32); serialize_f64(f64);
        serialize_none(); serialize_unit(); serialize_unit_struct(Name);
        serialize_seq(Option<usize>) -> SerializeSeq;
        serialize_tuple(usize) -> SerializeTuple;
        serialize_tuple_struct(Name, usize) -> SerializeTupleStruct;
        serialize_map(Option<usize>) -> SerializeMap;
        serialize_struct(Name, usize) -> SerializeStruct;
    }
}

impl<C: SerializeTuple<Ok = (), Error = serde_json::Error>> ser::SerializeTupleVariant
    for VariantContent<C>
{
    type Ok = Name;
    type Error = EncodeError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        Ok(self.data.serialize_element(value)?)
    }

    #[inline]
    fn end(self) -> Result<Name> {
        self.data.end()?;
        Ok(self.variant)
    }
}

impl<C: SerializeStruct<Ok = (), Error = serde_json::Error>> ser::SerializeStructVariant
    for VariantContent<C>
{
    type Ok = Name;
    type Error = EncodeError;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: Name, value: &T) -> Result<()> {
        Ok(self.data.serialize_field(key, value)?)
    }

    #[inline]
    fn end(self) -> Result<Name> {
        self.data.end()?;
        Ok(self.variant)
    }
}

//! `serde_json`'s serializer, restricted to values that can be stored and read back.
//!
//! Floats are visible only to a [`Serializer`], so [`Strict`] wraps it. Depth, characters and raw JSON are visible only to a
//! [`Formatter`]. Both report to one [`Finding`].

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io;

use serde::ser::{self, Serialize, Serializer};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use super::error::{DEPTH_LIMIT, Fault, JsonError};
use super::text::{self, TextFault};

/// `serde_json` passes raw JSON as the only field of a struct whose name begins with this.
const SERDE_JSON_TOKEN: &str = "$serde_json::";

/// The refused value and its place. It is returned beside serde's error, which carries only a message.
#[derive(Debug, Default)]
pub(super) struct Finding {
    fault: Cell<Option<Fault>>,
    byte_of_raw_json: Cell<Option<usize>>,
    /// From the inside out: filled while the error is passed up.
    path: RefCell<Vec<String>>,
}

impl Finding {
    #[cold]
    fn refuse(&self, fault: Fault) -> &'static str {
        self.fault.set(Some(fault));
        "refused: cannot be kept as jsonb"
    }

    #[cold]
    fn refuse_raw_json(&self, TextFault { fault, byte }: TextFault) -> &'static str {
        self.byte_of_raw_json.set(Some(byte));
        self.refuse(fault)
    }

    #[cold]
    fn passed(&self, step: impl FnOnce() -> String) {
        if self.fault.get().is_none() {
            return;
        }
        let step = step();
        if !step.starts_with(SERDE_JSON_TOKEN) {
            self.path.borrow_mut().push(step);
        }
    }

    pub(super) fn to_error(&self) -> Option<JsonError> {
        self.fault.get().map(|fault| fault.at(self.place()))
    }

    fn place(&self) -> String {
        let path = self.path.borrow();
        let steps: Vec<&str> = path.iter().rev().map(String::as_str).collect();
        let field = match steps.as_slice() {
            [] => "the value".to_owned(),
            steps => format!("`{}`", steps.join(".")),
        };
        match self.byte_of_raw_json.get() {
            Some(byte) => format!("{field} (byte {byte} of its raw JSON)"),
            None => field,
        }
    }
}

/// Writes compact JSON. Refuses U+0000, too deep nesting, and raw JSON that `jsonb` would not accept.
#[derive(Debug)]
pub(crate) struct JsonbFormatter<'finding> {
    depth: usize,
    finding: &'finding Finding,
}

impl<'finding> JsonbFormatter<'finding> {
    pub(super) fn new(finding: &'finding Finding) -> Self {
        Self { depth: 0, finding }
    }

    #[inline]
    fn descend(&mut self) -> io::Result<()> {
        self.depth += 1;
        if self.depth <= DEPTH_LIMIT {
            Ok(())
        } else {
            Err(io::Error::other(self.finding.refuse(Fault::TooDeep)))
        }
    }

    fn check(&self, raw_json: &str) -> io::Result<()> {
        text::check_tokens(raw_json, self.depth)
            .map_err(|fault| io::Error::other(self.finding.refuse_raw_json(fault)))
    }
}

impl Formatter for JsonbFormatter<'_> {
    #[inline]
    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.descend()?;
        writer.write_all(b"[")
    }

    #[inline]
    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        writer.write_all(b"]")
    }

    #[inline]
    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.descend()?;
        writer.write_all(b"{")
    }

    #[inline]
    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        writer.write_all(b"}")
    }

    #[inline]
    fn write_char_escape<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::AsciiControl(0) => {
                Err(io::Error::other(self.finding.refuse(Fault::NulCharacter)))
            }
            _ => CompactFormatter.write_char_escape(writer, escape),
        }
    }

    fn write_number_str<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        number: &str,
    ) -> io::Result<()> {
        self.check(number)?;
        writer.write_all(number.as_bytes())
    }

    fn write_raw_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.check(fragment)?;
        writer.write_all(fragment.as_bytes())
    }
}

/// Forwards to another serializer, and refuses floats that are not finite.
#[derive(Debug)]
pub(crate) struct Strict<'finding, S> {
    inner: S,
    finding: &'finding Finding,
}

impl<'finding, S> Strict<'finding, S> {
    pub(super) fn new(inner: S, finding: &'finding Finding) -> Self {
        Self { inner, finding }
    }
}

/// A value that is serialized through [`Strict`] with any serializer.
struct StrictValue<'finding, 'value, T: ?Sized> {
    value: &'value T,
    finding: &'finding Finding,
}

impl<T: Serialize + ?Sized> Serialize for StrictValue<'_, '_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Strict::new(serializer, self.finding))
    }
}

/// The elements or fields of an array or object.
#[derive(Debug)]
pub(crate) struct StrictContent<'finding, C> {
    inner: C,
    finding: &'finding Finding,
    next_index: usize,
}

macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $method(self, $($argument: $type),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($argument),*)
        }
    )*};
}

macro_rules! forward_finite {
    ($($method:ident($type:ty))*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            if value.is_finite() {
                return self.inner.$method(value);
            }
            Err(ser::Error::custom(self.finding.refuse(Fault::NotFinite)))
        }
    )*};
}

macro_rules! forward_nested {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $method<T: Serialize + ?Sized>(self, $($argument: $type,)* value: &T) -> Result<S::Ok, S::Error> {
            self.inner.$method($($argument,)* &StrictValue { value, finding: self.finding })
        }
    )*};
}

macro_rules! forward_content {
    ($($method:ident($($argument:ident: $type:ty),*) -> $content:ident)*) => {$(
        type $content = StrictContent<'finding, S::$content>;

        #[inline]
        fn $method(self, $($argument: $type),*) -> Result<Self::$content, S::Error> {
            let inner = self.inner.$method($($argument),*)?;
            Ok(StrictContent { inner, finding: self.finding, next_index: 0 })
        }
    )*};
}

impl<'finding, S: Serializer> Serializer for Strict<'finding, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    forward! {
        serialize_bool(value: bool) serialize_char(value: char) serialize_str(value: &str) serialize_bytes(value: &[u8])
        serialize_i8(value: i8) serialize_i16(value: i16) serialize_i32(value: i32) serialize_i64(value: i64)
        serialize_u8(value: u8) serialize_u16(value: u16) serialize_u32(value: u32) serialize_u64(value: u64)
        serialize_i128(value: i128) serialize_u128(value: u128)
        serialize_none() serialize_unit() serialize_unit_struct(name: &'static str)
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str)
    }

    forward_finite! { serialize_f32(f32) serialize_f64(f64) }

    forward_nested! {
        serialize_some()
        serialize_newtype_struct(name: &'static str)
        serialize_newtype_variant(name: &'static str, index: u32, variant: &'static str)
    }

    forward_content! {
        serialize_seq(len: Option<usize>) -> SerializeSeq
        serialize_tuple(len: usize) -> SerializeTuple
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeTupleVariant
        serialize_map(len: Option<usize>) -> SerializeMap
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeStructVariant
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! forward_elements {
    ($($content:ident::$method:ident($($key:ident)?))*) => {$(
        impl<C: ser::$content> ser::$content for StrictContent<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, $($key: &'static str,)? value: &T) -> Result<(), C::Error> {
                self.inner
                    .$method($($key,)? &StrictValue { value, finding: self.finding })
                    .inspect_err(|_| self.finding.passed(|| forward_elements!(@step self.next_index $(, $key)?)))?;
                self.next_index += 1;
                Ok(())
            }

            #[inline]
            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )*};
    (@step $index:expr) => { $index.to_string() };
    (@step $index:expr, $key:ident) => { $key.to_owned() };
}

forward_elements! {
    SerializeSeq::serialize_element()
    SerializeTuple::serialize_element()
    SerializeTupleStruct::serialize_field()
    SerializeTupleVariant::serialize_field()
    SerializeStruct::serialize_field(key)
    SerializeStructVariant::serialize_field(key)
}

impl<C: ser::SerializeMap> ser::SerializeMap for StrictContent<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_key<K: Serialize + ?Sized>(&mut self, value: &K) -> Result<(), C::Error> {
        let finding = self.finding;
        self.inner
            .serialize_key(&StrictValue { value, finding })
            .inspect_err(|_| finding.passed(|| "(a key)".to_owned()))
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.inner.serialize_value(&StrictValue {
            value,
            finding: self.finding,
        })
    }

    #[inline]
    fn serialize_entry<K, V>(&mut self, key: &K, value: &V) -> Result<(), C::Error>
    where
        K: Serialize + ?Sized,
        V: Serialize + ?Sized,
    {
        self.serialize_key(key)?;
        self.serialize_value(value)
            .inspect_err(|_| self.finding.passed(|| key_as_step(key)))
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

fn key_as_step<K: Serialize + ?Sized>(key: &K) -> String {
    let json = serde_json::to_string(key).unwrap_or_default();
    json.trim_matches('"').to_owned()
}

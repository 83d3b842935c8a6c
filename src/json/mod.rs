//! JSON that PostgreSQL's `jsonb` can keep and `serde_json` can read back.
//!
//! `serde_json` writes NaN as `null`, nests deeper than it can read, and writes U+0000, which `jsonb` refuses.
//! Everything that goes into the database passes here and is refused before anything is sent. It also reads a float where
//! the text has a longer number; a document that comes back passes here, too, and is refused instead.

mod error;
mod exact;
#[cfg(test)]
mod fuzz;
mod number;
mod stored;
mod strict;
#[cfg(test)]
mod tests;
mod text;
mod type_name;
mod write;

pub(crate) use error::DEPTH_LIMIT;
pub use error::JsonError;
pub(crate) use stored::from_stored;
pub(crate) use text::check_json_text;
pub(crate) use type_name::type_name;
pub(crate) use write::{to_json, write_json};

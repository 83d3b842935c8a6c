//! JSON that PostgreSQL's `jsonb` can store and `serde_json` can read back.
//!
//! `serde_json` writes NaN as `null`, nests deeper than it can read, and writes U+0000, which `jsonb` refuses. All JSON for
//! the database is checked here before anything is sent. `serde_json` also reads a float where the text has a longer number.
//! Documents that are read are checked here too, and such numbers are refused.

mod error;
mod exact;
#[cfg(test)]
mod fuzz;
mod jsonb_form;
mod number;
mod strict;
#[cfg(test)]
mod tests;
mod text;
mod type_name;
mod write;

pub(crate) use error::DEPTH_LIMIT;
pub use error::JsonError;
pub(crate) use exact::from_stored;
pub(crate) use jsonb_form::jsonb_form;
pub(crate) use text::check_json_text;
pub(crate) use type_name::type_name;
pub(crate) use write::{to_json, write_json};

//! MongoDB's filters and sort orders as SQL. Pure: nothing here talks to a database.

mod boolean_logic;
mod column;
mod condition;
mod element_condition;
mod field;
mod field_condition;
mod field_path;
mod filter_error;
mod filter_shape;
mod index_range;
mod json_type;
mod predicate;
mod regex;
mod sort;
mod source;
mod sql_parameters;
mod typed_filter;
mod value_condition;

pub(crate) use condition::filter_condition;
pub(crate) use element_condition::pull_condition;
pub use field::{Element, ElementFilter, Field, element, field};
pub use filter_error::FilterError;
#[expect(unused_imports, reason = "for lookups")]
pub(crate) use filter_shape::{is_plain_equality, pinned_id};
pub use json_type::JsonType;
pub use regex::RegexOption;
pub(crate) use sort::sort_order;
pub(crate) use sql_parameters::{SqlParameters, SqlValue};
pub use typed_filter::Filter;

//! MongoDB's filters and sort orders as SQL. Pure: nothing here talks to a database.

mod boolean_logic;
mod column;
mod condition;
mod element_condition;
mod equal_fields;
mod field_condition;
mod field_path;
mod filter_error;
mod found_values;
mod index_range;
mod predicate;
mod sort;
mod source;
mod sql_parameters;
mod stub;
mod value_condition;

pub(crate) use condition::filter_condition;
pub(crate) use element_condition::pull_condition;
pub(crate) use equal_fields::equal_fields;
pub(crate) use field_path::{index_expression, index_presence, sql_literal};
pub use filter_error::FilterError;
pub(crate) use found_values::found_values;
pub(crate) use sort::sort_order;
pub(crate) use sql_parameters::{SqlParameters, SqlValue};
pub use stub::Filter;
pub(crate) use stub::pinned_id;

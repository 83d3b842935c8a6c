//! MongoDB's filters and sort orders as SQL. Pure: nothing here talks to a database.

mod boolean_logic;
mod column;
mod condition;
mod element_condition;
mod field_condition;
mod field_path;
mod filter_error;
mod index_range;
mod predicate;
mod sort;
mod source;
mod sql_parameters;
mod value_condition;

pub(crate) use condition::filter_condition;
pub(crate) use element_condition::pull_condition;
pub use filter_error::FilterError;
pub(crate) use sort::sort_order;
pub(crate) use sql_parameters::{SqlParameters, SqlValue};

//! MongoDB's update documents as calls of the SQL function that applies them. Pure: nothing here talks to a database.

mod array_operand;
mod builder;
mod conflict;
mod expression;
mod field;
mod operation;
#[cfg(test)]
mod tests;
mod update_error;
mod update_path;

pub use builder::Update;
pub(crate) use expression::{UpdatePhase, update_expression};
pub(crate) use operation::counts;
pub use update_error::UpdateError;

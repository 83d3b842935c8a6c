//! MongoDB's update documents as calls of an SQL function. Pure: no code here accesses a database.

mod array_operand;
mod builder;
mod conflict;
mod error;
mod expression;
mod field;
#[cfg(test)]
mod fuzz;
mod operation;
#[cfg(test)]
mod tests;

pub use builder::Update;
pub use error::UpdateError;
pub(crate) use expression::{UpdatePhase, update_expression};

//! Errors: their questions, and their types on the way to the caller.

mod closures;
mod questions;

//! Errors: what a caller can ask of them, and that they keep their type on the way to the caller.

mod closures;
mod questions;

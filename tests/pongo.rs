//! Pongo: collections of documents against a real PostgreSQL.

mod against_a_model;
mod evaluator;
mod filters;
mod hostile_text;
mod operators;

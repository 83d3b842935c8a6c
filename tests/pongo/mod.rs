//! Pongo: collections of documents, with a real PostgreSQL.

mod adoption;
mod against_a_model;
mod client;
mod collections;
mod columns;
mod concurrency;
mod evaluator;
mod filters;
mod finding;
mod hostile_text;
mod ids;
mod index_plans;
mod indexes;
mod killed;
mod operations;
mod operators;
mod special_values;
mod updates;

//! The tests: each file covers one behaviour, with a real PostgreSQL.
#![allow(missing_docs, reason = "tests are named as sentences")]

mod cli;
mod consumer;
mod database;
mod day;
mod decide;
mod error;
mod events;
mod node;
mod operations;
mod pongo;
mod projection;
mod readme;
mod rebuild;
mod slots;
mod store;
mod support;
mod testing;
mod workflow;

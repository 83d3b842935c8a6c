//! The proofs: each file is one behaviour, against a real PostgreSQL.
#![allow(missing_docs, reason = "tests are named as sentences")]

mod adoption;
mod append;
mod archive;
mod cli;
mod connections;
mod consumers;
mod doctor;
mod event_log;
mod feed;
mod fence;
mod grants;
mod inline_projections;
mod isolation;
mod names;
mod plans;
mod pongo;
mod processors;
mod read;
mod rebuild;
mod schema;
mod sessions;
mod support;
mod tenants;
mod throwaway_server;
mod tls;
mod wakeups;

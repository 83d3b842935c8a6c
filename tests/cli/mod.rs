//! The command line, as used by people and programs.

mod adopt;
mod commands;
mod connection;
mod consumers;
mod doctor;
mod environment;
mod examples;
mod guide;
mod hotel;
mod http_front;
mod jobs;
mod keys;
mod pipes;
pub(crate) mod process;
mod projections;
mod refused;
mod secrets;
mod workflows;

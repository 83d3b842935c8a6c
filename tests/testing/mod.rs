//! The throwaway servers of tests, and specifications.

mod consumer_specifications;
mod failing;
mod projection_specs;
mod same_documents;
mod specifications;
mod throwaway_server;
mod workflows;

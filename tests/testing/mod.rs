//! The throwaway servers of tests.

mod consumer_specifications;
mod specifications;
mod throwaway_server;

//! The throwaway servers of tests.

mod specifications;
mod throwaway_server;
mod workflows;

//! The throwaway servers of tests.

mod throwaway_server;

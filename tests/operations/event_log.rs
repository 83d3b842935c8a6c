//! Event logs: an import stores exactly the content of the log, once, and an export is complete.

mod bad_lines;
mod beside_others;
mod continuing;
mod fidelity;
mod killed;
mod logs;
mod projections;
mod round_trip;
mod states;

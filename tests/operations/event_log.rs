//! Event logs: what is imported is what the log says, once, whatever happens meanwhile; what is exported is all of it.

mod bad_lines;
mod beside_others;
mod continuing;
mod fidelity;
mod killed;
mod logs;
mod projections;
mod round_trip;
mod states;

//! Nobody gets in by what the session's search path finds: no operator, function or type of ours is looked up there.

mod day;
mod qualified;
mod traps;

//! Nothing of the library is looked up through the session's search path: no operator, function or type.

mod day;
mod qualified;
mod traps;

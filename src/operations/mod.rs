//! What an operator does: look at processors, examine the store, move event logs.

pub(crate) mod doctor;
pub(crate) mod event_log;
pub(crate) mod processors;

//! What an operator sees and does.

mod doctor;
mod event_log;
pub(crate) mod processors;
mod restored;

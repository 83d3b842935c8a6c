//! What an operator does: look at processors, examine the store, move event logs.

mod doctor;
mod event_log;
mod neighbour;
mod processors;
mod restore;

pub use doctor::{
    DoctorReport, FeedProof, FeedState, FenceHolder, Finding, FindingKind, HolderKind, Severity,
};
pub use event_log::{
    ExportOptions, ExportProgress, ExportReport, ImportOptions, ImportProgress, ImportReport,
};
pub use neighbour::Neighbour;
pub use processors::{ParkedDetail, Processors};
pub use restore::SequenceRepair;

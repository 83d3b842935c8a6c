//! Operating a store: processors and parked messages, the doctor, event logs, repair.
//!
//! The entry points are [`EventStore::processors`](crate::EventStore::processors),
//! [`EventStore::doctor`](crate::EventStore::doctor), [`EventStore::export`](crate::EventStore::export) and
//! [`EventStore::import`](crate::EventStore::import).

mod doctor;
mod event_log;
mod neighbour;
mod processors;
mod restore;

pub use crate::slots::{
    NeighbourProcessor, ParkedMessage, ParkedOptions, ParkedRequest, ParkedSelection,
    ProcessorReset, ProcessorState, ProcessorStatus, RequestOutcome, SlotHolder, SlotStatus,
    SurvivedError,
};
pub use doctor::{
    DoctorReport, FeedProof, FeedState, FenceHolder, Finding, FindingKind, HolderKind, Severity,
};
pub use event_log::{
    ExportOptions, ExportProgress, ExportReport, ImportOptions, ImportProgress, ImportReport,
};
pub use neighbour::Neighbour;
pub use processors::{ParkedDetail, Processors};
pub use restore::SequenceRepair;

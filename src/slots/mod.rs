//! The slots of processors: which worker has which streams.

mod failure;
mod key;
mod known;
mod lease;
pub(crate) mod parked;
pub(crate) mod parking;
pub(crate) mod progress;
mod request;
mod reset;
pub(crate) mod status;
mod switch;

pub(crate) use key::{OwnedSlots, ProcessorKey, slot_of};
pub(crate) use known::{names, versions};
pub(crate) use lease::{HeldSlot, Holder, RenewedSlot, renew};
pub use parked::{ParkedMessage, ParkedOptions, ParkedRequest};
pub use request::{ParkedSelection, RequestOutcome};
pub use reset::ProcessorReset;
pub use status::{ProcessorState, ProcessorStatus, SlotHolder, SlotStatus};

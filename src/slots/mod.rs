//! The slots of processors: the worker of each stream, its progress, and its parked messages.
//!
//! A processor divides its streams among one or more slots. A worker holds slots under a lease; each slot has its own
//! checkpoint. Only this module has SQL on `emt_processor_slots`, `emt_parked_messages`, `emt_processor_beginnings` and the
//! view `emt_processors`.
//!
//! # States of a slot
//!
//! ```text
//!                  take                    lease runs out
//!   free ------------------------> held ------------------> expired
//!    ^ ^                           ^ | ^ <----- renew ------- | |
//!    | |                ask lapses | | |                      | | take, where it was taken before
//!    | +---------- release --------|-+ +-- take, further on --+ v
//!    |                             | | ask                   after crash
//!    | promise                     | v                       (like held: messages one by one)
//!    | lapses          release   wanted
//!    +------- promised <-----------+
//!                |
//!                +---- take, by the worker that asked ----> held
//!
//!   (no row) --- register --> free
//!   any      --- reset -----> the same, at another position; failed becomes what it was
//!   any      --- fail ------> failed     --- register ------> what it was
//!   held     --- wait ------> waiting    --- go on ------> held
//!   any      --- hold ------> rebuilding --- release -------> free
//!                             rebuilding --- five minutes --> expired
//!   not held --- forget ----> (no row)
//!   any      --- its tenant is removed --> (no row)
//! ```
//!
//! | State | Columns |
//! |---|---|
//! | free | no `owner` |
//! | held | `owner`, `expires_at` in the future |
//! | wanted | held; another worker in `wanted_by`, until `wanted_until` |
//! | promised | no `owner`, `wanted_by` until `wanted_until` |
//! | expired | `owner`, `expires_at` in the past |
//! | after crash | held, `crashes` above 0 |
//! | waiting | held; `retry_at` is set after a temporary database failure |
//! | rebuilding | held by a rebuild during its switch |
//! | failed | `status` is `failed`, with any other columns |
//!
//! Take, hold and reset raise the epoch with `emt_slot_raise_epoch`. A checkpoint is written only if the slot still has the
//! epoch at which the worker took it. A worker that lost its slot therefore commits nothing more.
//!
//! After a crash, each attempt at a message is committed before the message is handled. It counts holders, not attempts. A
//! holder that releases the slot does not count.
//!
//! # States of a parked message
//!
//! ```text
//!            handler fails             replay
//!   (no row) -------------> parked -----------------> replay requested --- handled ---> (no row)
//!                              ^                        | |   ^
//!                              +----- fails again ------+ |   | replay of its stream,
//!            an earlier one                               |   | or it follows an earlier one
//!            is parked                                    |   |
//!   (no row) -------------> after <-- earlier one fails --+   |
//!                              |                              |
//!                              +------------------------------+
//!
//!   parked, after, replay requested --- discard --> discard requested --- dropped ---> (no row)
//!   any                             --- reset, forget, switch of a rebuild ----------> (no row)
//!   any                             --- its tenant is removed ---------------------> (no row)
//! ```
//!
//! | State | Columns |
//! |---|---|
//! | parked | `error` is set |
//! | after | no `error`: an earlier message of its stream is parked |
//! | replay requested, discard requested | `request` |
//!
//! A message is never replayed before an earlier one of its stream. `tests/slots` checks each transition of both drawings.

mod coverage;
mod failure;
mod key;
mod known;
mod lease;
mod lease_renewer;
pub(crate) mod neighbour;
pub(crate) mod parked;
pub(crate) mod parking;
pub(crate) mod progress;
mod renewal;
mod request;
mod reset;
pub(crate) mod status;
mod survived;
mod switch;
mod waiting;

pub(crate) use coverage::{Coverage, Missed};
pub(crate) use key::{OwnedSlots, ProcessorKey, slot_of};
pub(crate) use known::{names, versions};
pub(crate) use lease::{HeldSlot, Holder};
pub(crate) use lease_renewer::{LeaseRenewer, Leaseholder};
pub use neighbour::NeighbourProcessor;
pub use parked::{ParkedMessage, ParkedOptions, ParkedRequest};
pub(crate) use parking::Replay;
pub(crate) use renewal::{LivingWorker, RenewedWorker, Survived};
pub use request::{ParkedSelection, RequestOutcome};
pub use reset::ProcessorReset;
pub use status::{ProcessorState, ProcessorStatus, SlotHolder, SlotStatus};
pub use survived::SurvivedError;
pub(crate) use switch::{KeptProjection, processor_of};

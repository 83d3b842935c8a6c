//! The thread that renews the leases of a consumer, also while its workers are busy or idle.

use super::lease::{self, RenewedSlot};
use super::parking;
use super::seat::{Seat, Shared};
use crate::error::Result;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Keeper {
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

/// How often a lease is renewed before it would run out.
const RENEWALS: u32 = 4;

impl Keeper {
    /// A keeper that goes on until its consumer's workers have all ended: `ended` is closed then.
    pub(super) fn new(shared: Arc<Shared>, ended: Receiver<()>) -> Self {
        Self { shared, ended }
    }

    pub(super) fn run(self) {
        let mut pause = self.shared.settings.lease / RENEWALS;
        while let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(pause) {
            pause = match self.renew() {
                Ok(()) => self.shared.settings.lease / RENEWALS,
                Err(error) => {
                    for seat in &self.shared.seats {
                        seat.report(&error);
                    }
                    // Soon again: the leases run out meanwhile.
                    (self.shared.settings.lease / (4 * RENEWALS)).max(Duration::from_millis(10))
                }
            };
        }
    }

    fn renew(&self) -> Result<()> {
        let (shared, partition) = (&self.shared, self.shared.store.partition());
        let (renewed, requested) = shared.run(|sql| {
            let renewed = lease::renew(sql, partition, &shared.owner, shared.settings.lease)?;
            Ok((renewed, parking::has_requests(sql, partition)?))
        })?;
        let mut by_seat: HashMap<(&str, i32, i32), Vec<&RenewedSlot>> = HashMap::new();
        for slot in &renewed {
            let seat = (slot.processor.as_str(), slot.version, slot.worker);
            by_seat.entry(seat).or_default().push(slot);
        }
        for seat in &shared.seats {
            let key = (
                seat.processor.name.as_str(),
                seat.processor.version,
                seat.worker,
            );
            let slots = by_seat.remove(&key).unwrap_or_default();
            if has_changed(seat, &slots) {
                seat.ring(&seat.leases_changed);
            }
            if requested && !slots.is_empty() {
                seat.ring(&seat.requested);
            }
        }
        Ok(())
    }
}

/// Whether the worker has to look at its leases: it lost one, others want one, or it may get more.
fn has_changed(seat: &Seat, slots: &[&RenewedSlot]) -> bool {
    let known = seat.held();
    let is_known = |slot: &&RenewedSlot| known.contains(&(slot.slot, slot.epoch)) && !slot.wanted;
    // A processor with one slot that it holds can get no more.
    let is_all =
        known.len() == 1 && seat.processor.workers() == 1 && seat.processor.new_slots() == 1;
    !is_all || known.len() != slots.len() || !slots.iter().all(is_known)
}

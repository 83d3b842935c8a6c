//! The thread that renews the leases of a consumer, also while its workers are busy or idle.

use super::mailbox::Mailbox;
use super::shared::Shared;
use super::thread::spawn;
use crate::database::{Checkout, Sql};
use crate::error::Result;
use crate::events::Partition;
use crate::projection::Projection;
use crate::rebuild::RebuildRequest;
use crate::slots::{self, RenewedSlot, parking};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

pub(super) struct LeaseRenewer {
    shared: Arc<Shared>,
    ended: Receiver<()>,
    /// Outside the pool: a program that keeps all connections of the pool busy must not lose its leases.
    connection: Option<Checkout>,
    /// The rebuilds that were asked for and run here.
    rebuilding: Arc<Mutex<HashSet<String>>>,
}

/// How often a lease is renewed before it would run out.
const RENEWALS: u32 = 4;

impl LeaseRenewer {
    /// A lease renewer that goes on until its consumer's workers have all ended: `ended` is closed then.
    pub(super) fn new(shared: Arc<Shared>, ended: Receiver<()>) -> Self {
        Self {
            shared,
            ended,
            connection: None,
            rebuilding: Arc::default(),
        }
    }

    pub(super) fn run(mut self) {
        let mut pause = self.shared.settings.lease / RENEWALS;
        while let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(pause) {
            pause = match self.renew().and_then(|()| self.begin_rebuilds()) {
                Ok(()) => self.shared.settings.lease / RENEWALS,
                Err(error) => {
                    self.connection = None;
                    for mailbox in &self.shared.mailboxes {
                        mailbox.report(&error);
                    }
                    // Soon again: the leases run out meanwhile.
                    (self.shared.settings.lease / (4 * RENEWALS)).max(Duration::from_millis(10))
                }
            };
        }
    }

    /// Asks over the lease renewer's connection; over the pool where it can have none of its own.
    fn ask<T>(&mut self, mut ask: impl FnMut(&mut dyn Sql, &Partition) -> Result<T>) -> Result<T> {
        let store = &self.shared.store;
        if self.connection.is_none() {
            self.connection = store.connections().dedicated()?;
        }
        match &mut self.connection {
            Some(connection) => store
                .connections()
                .run_over(connection, |sql| ask(sql, store.partition())),
            None => self.shared.run(|sql| ask(sql, store.partition())),
        }
    }

    fn renew(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let (owner, lease) = (&shared.owner, shared.settings.lease);
        let (renewed, requested) = self.ask(|sql, partition| {
            let renewed = slots::renew(sql, partition, owner, lease)?;
            Ok((renewed, parking::has_requests(sql, partition)?))
        })?;
        let mut by_mailbox: HashMap<(&str, i32, i32), Vec<&RenewedSlot>> = HashMap::new();
        for slot in &renewed {
            let mailbox = (slot.processor.as_str(), slot.version, slot.worker);
            by_mailbox.entry(mailbox).or_default().push(slot);
        }
        for mailbox in &shared.mailboxes {
            let key = (
                mailbox.processor.name.as_str(),
                mailbox.processor.version,
                mailbox.worker,
            );
            let slots = by_mailbox.remove(&key).unwrap_or_default();
            if has_changed(mailbox, &slots) {
                mailbox.ring(&mailbox.leases_changed);
            }
            if requested && !slots.is_empty() {
                mailbox.ring(&mailbox.requested);
            }
        }
        Ok(())
    }

    /// Begins the rebuilds that were asked for, of projections that this program has.
    fn begin_rebuilds(&mut self) -> Result<()> {
        let requests = self.ask(RebuildRequest::open)?;
        let shared = &self.shared;
        for request in requests {
            let is_kept = |mailbox: &&Arc<Mailbox>| {
                let kept = mailbox.processor.projection();
                kept.is_some_and(|projection| projection.name() == request.name)
            };
            let mailbox = shared.mailboxes.iter().find(is_kept);
            let projection = mailbox.and_then(|mailbox| mailbox.processor.projection().cloned());
            let is_ours =
                projection.is_some() || shared.store.projections().find(&request.name).is_some();
            if !is_ours || !self.rebuilding().insert(request.name.clone()) {
                continue;
            }
            let (shared, mailbox) = (Arc::clone(shared), mailbox.map(Arc::clone));
            let rebuilding = Arc::clone(&self.rebuilding);
            spawn("emt:rebuild", move || {
                rebuild(&shared, &request, mailbox.as_deref(), projection);
                rebuilding.lock().remove(&request.name);
            })?;
        }
        Ok(())
    }

    fn rebuilding(&self) -> MutexGuard<'_, HashSet<String>> {
        self.rebuilding.lock()
    }
}

/// Runs a rebuild to its end. It goes on when the consumer is stopped; when the process ends, it changes nothing.
fn rebuild(
    shared: &Shared,
    request: &RebuildRequest,
    mailbox: Option<&Mailbox>,
    projection: Option<Arc<dyn Projection>>,
) {
    let outcome = request.carry_out(&shared.store, projection);
    if let (Err(error), Some(mailbox)) = (outcome, mailbox) {
        mailbox.report(&error);
    }
}

/// Whether the worker has to look at its leases: it lost one, others want one, or it may get more.
fn has_changed(mailbox: &Mailbox, slots: &[&RenewedSlot]) -> bool {
    let known = mailbox.held();
    let is_known = |slot: &&RenewedSlot| known.contains(&(slot.slot, slot.epoch)) && !slot.wanted;
    // A processor with one slot that it holds can get no more.
    let is_all =
        known.len() == 1 && mailbox.processor.workers() == 1 && mailbox.processor.new_slots() == 1;
    !is_all || known.len() != slots.len() || !slots.iter().all(is_known)
}

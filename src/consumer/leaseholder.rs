//! The consumer's side of lease renewal: its living workers, and the results of a renewal.

use super::mailbox::Mailbox;
use super::rebuilding;
use super::shared::Shared;
use super::thread::spawn;
use crate::error::Error;
use crate::slots::{Leaseholder, LivingWorker, RenewedWorker};
use std::sync::Arc;
use std::time::Duration;

impl Leaseholder for Shared {
    fn lease(&self) -> Duration {
        self.settings.lease
    }

    fn living(&self) -> Vec<LivingWorker> {
        let living = self.mailboxes.iter().filter(|mailbox| mailbox.is_alive());
        living.map(|mailbox| self.as_living(mailbox)).collect()
    }

    fn renewed(self: Arc<Self>, workers: &[(LivingWorker, RenewedWorker)]) {
        for (worker, renewed) in workers {
            self.hear(worker, renewed);
        }
        let mut renewed = workers.iter().map(|(_, renewed)| renewed);
        if renewed.any(|renewed| renewed.is_rebuild_requested) {
            self.look_for_rebuilds();
        }
    }

    fn not_renewed(&self, error: &Error) {
        for mailbox in &self.mailboxes {
            mailbox.survive(error);
        }
    }
}

impl Shared {
    /// Passes the result of a renewal to a worker. Returns whether the worker has something to do.
    pub(super) fn hear(&self, worker: &LivingWorker, renewed: &RenewedWorker) -> bool {
        let Some(mailbox) = self.mailbox_of(worker) else {
            return false;
        };
        let noted = worker.survived.iter();
        noted.for_each(|noted| mailbox.note_noted(noted));
        tell(mailbox, renewed)
    }

    fn as_living(&self, mailbox: &Mailbox) -> LivingWorker {
        LivingWorker {
            partition: self.store.partition().name.clone(),
            processor: mailbox.processor.name.clone(),
            version: mailbox.processor.version,
            owner: self.owner.clone(),
            worker: mailbox.worker,
            lease: self.settings.lease,
            busy_for: mailbox.busy_for(),
            survived: mailbox.survived(),
        }
    }

    fn mailbox_of(&self, worker: &LivingWorker) -> Option<&Arc<Mailbox>> {
        self.mailboxes.iter().find(|mailbox| {
            mailbox.worker == worker.worker && mailbox.processor.name == worker.processor
        })
    }

    /// Runs in a thread of its own, because the renewer must not wait for a connection of the pool.
    fn look_for_rebuilds(self: Arc<Self>) {
        let shared = Arc::clone(&self);
        let begun = spawn("emt:rebuilds", move || {
            shared.rebuilds.lock().forget_elsewhere();
            if let Err(error) = rebuilding::begin(&shared) {
                shared.not_renewed(&error);
            }
        });
        if let Err(error) = begun {
            self.not_renewed(&error);
        }
    }
}

fn tell(mailbox: &Mailbox, renewed: &RenewedWorker) -> bool {
    let has_changed = has_changed(mailbox, renewed);
    if has_changed {
        mailbox.ring(&mailbox.leases_changed);
    }
    let is_requested = renewed.is_requested && !renewed.held.is_empty();
    if is_requested {
        mailbox.ring(&mailbox.requested);
    }
    has_changed || is_requested
}

/// Returns whether the worker has to check its leases: it lost one, another worker wants one, or one is free for it.
fn has_changed(mailbox: &Mailbox, renewed: &RenewedWorker) -> bool {
    let processor = &mailbox.processor;
    let may_share = processor.workers() > 1 || processor.new_slots() > 1;
    may_share || renewed.may_change || *mailbox.held() != renewed.held
}

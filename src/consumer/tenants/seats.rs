//! The seats of all tenants.

use super::seat::Seat;
use crate::events::feed_news::TenantKey;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

pub(super) struct Seats {
    of: RwLock<BTreeMap<TenantKey, Arc<Seat>>>,
    /// Seats that wait for a thread.
    queue: (Sender<Arc<Seat>>, Receiver<Arc<Seat>>),
    /// Dropped to end the threads.
    open: Mutex<Option<Sender<()>>>,
    closed: Receiver<()>,
}

impl Seats {
    pub(super) fn new() -> Self {
        let (open, closed) = bounded(0);
        Self {
            of: RwLock::default(),
            queue: unbounded(),
            open: Mutex::new(Some(open)),
            closed,
        }
    }

    pub(super) fn ready(&self) -> &Sender<Arc<Seat>> {
        &self.queue.0
    }

    pub(super) fn queue(&self) -> &Receiver<Arc<Seat>> {
        &self.queue.1
    }

    pub(super) fn closed(&self) -> &Receiver<()> {
        &self.closed
    }

    pub(super) fn all(&self) -> Vec<Arc<Seat>> {
        self.of.read().values().map(Arc::clone).collect()
    }

    pub(super) fn find(&self, tenant: &TenantKey) -> Option<Arc<Seat>> {
        self.of.read().get(tenant).map(Arc::clone)
    }

    /// Returns the seats of a name. There are two while a tenant is removed and added again.
    pub(super) fn named(&self, tenant: &str) -> Vec<Arc<Seat>> {
        let first = TenantKey {
            name: tenant.to_owned(),
            created_at: SystemTime::UNIX_EPOCH,
        };
        let seats = self.of.read();
        let named = seats.range(first..);
        named
            .take_while(|(key, _)| key.name == tenant)
            .map(|(_, seat)| Arc::clone(seat))
            .collect()
    }

    pub(super) fn add(&self, seat: Arc<Seat>) {
        self.of.write().insert(seat.tenant.clone(), seat);
    }

    pub(super) fn remove(&self, tenant: &TenantKey) -> Option<Arc<Seat>> {
        self.of.write().remove(tenant)
    }

    /// Ends the threads once all workers have ended.
    pub(super) fn close_if_ended(&self) {
        if self.of.read().values().all(|seat| seat.has_ended()) {
            self.open.lock().take();
        }
    }
}

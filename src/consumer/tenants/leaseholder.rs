//! The consumer's side of lease renewal: the workers of all tenants.

use super::seats::Seats;
use crate::consumer::plan::Plan;
use crate::consumer::rebuilding;
use crate::consumer::shared::Shared;
use crate::consumer::thread::spawn;
use crate::error::Error;
use crate::slots::{Leaseholder, LivingWorker, RenewedWorker};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(super) struct TenantsLeaseholder {
    pub(super) plan: Arc<Plan>,
    pub(super) seats: Arc<Seats>,
    pub(super) is_rebuilding: AtomicBool,
}

impl Leaseholder for TenantsLeaseholder {
    fn lease(&self) -> Duration {
        self.plan.settings.lease
    }

    fn living(&self) -> Vec<LivingWorker> {
        let seats = self.seats.all();
        let shared = seats.iter().filter_map(|seat| seat.shared());
        shared.flat_map(|shared| shared.living()).collect()
    }

    fn renewed(self: Arc<Self>, workers: &[(LivingWorker, RenewedWorker)]) {
        let seats = self.seats.all();
        // Compare the owner, too: a tenant that was removed and added again briefly has two seats.
        let place =
            |shared: &Arc<Shared>| (shared.store.partition().name.clone(), shared.owner.clone());
        let seats: HashMap<_, _> = seats
            .iter()
            .filter_map(|seat| Some((place(seat.shared()?), seat)))
            .collect();
        let mut rebuilding = Vec::new();
        for (worker, renewed) in workers {
            let Some(seat) = seats.get(&(worker.partition.clone(), worker.owner.clone())) else {
                continue;
            };
            let Some(shared) = seat.shared() else {
                continue;
            };
            if shared.hear(worker, renewed) {
                seat.wake();
            }
            if renewed.is_rebuild_requested {
                rebuilding.push(Arc::clone(shared));
            }
        }
        self.rebuild(rebuilding);
    }

    /// Reports the error once for each processor, not for each tenant.
    fn not_renewed(&self, error: &Error) {
        let processors = self.plan.processors.iter();
        processors.for_each(|processor| processor.report(error));
    }
}

impl TenantsLeaseholder {
    /// Runs rebuilds one after the other in one thread, regardless of the number of tenants.
    fn rebuild(self: Arc<Self>, tenants: Vec<Arc<Shared>>) {
        if tenants.is_empty() || self.is_rebuilding.swap(true, Ordering::SeqCst) {
            return;
        }
        let holder = Arc::clone(&self);
        let begun = spawn("emt:rebuilds", move || {
            for shared in tenants {
                if holder.plan.stop.is_stopped() {
                    break;
                }
                if let Err(error) = rebuilding::carry_out(&shared) {
                    holder.not_renewed(&error);
                }
            }
            holder.is_rebuilding.store(false, Ordering::SeqCst);
        });
        if let Err(error) = begun {
            self.is_rebuilding.store(false, Ordering::SeqCst);
            self.not_renewed(&error);
        }
    }
}

//! A running consumer for all tenants.

use super::failures::Failures;
use super::leaseholder::TenantsLeaseholder;
use super::scheduler::Scheduler;
use super::seats::Seats;
use crate::consumer::mailbox::Waiting;
use crate::consumer::plan::Plan;
use crate::consumer::running::{STOP_WITHIN, join_all};
use crate::consumer::thread::Thread;
use crate::error::Result;
use crate::slots::Leaseholder;
use crate::store::EventStore;
use crossbeam_channel::{Sender, bounded, select};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A running consumer for all tenants of a store, including tenants that are added later.
///
/// Dropping a consumer stops it, like [`stop`](TenantsConsumer::stop). Errors, and threads that have not ended, are not
/// reported then.
#[must_use = "dropping it stops it"]
pub struct TenantsConsumer {
    store: EventStore,
    plan: Arc<Plan>,
    seats: Arc<Seats>,
    failures: Arc<Failures>,
    threads: Vec<Thread>,
    leaseholder: Arc<dyn Leaseholder>,
}

impl fmt::Debug for TenantsConsumer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TenantsConsumer")
            .field("owner", &self.plan.owner)
            .finish_non_exhaustive()
    }
}

impl TenantsConsumer {
    pub(super) fn start(
        store: EventStore,
        plan: Arc<Plan>,
        seats: Arc<Seats>,
        failures: Arc<Failures>,
        threads: usize,
    ) -> Result<Self> {
        let leaseholder = Arc::new(TenantsLeaseholder {
            plan: Arc::clone(&plan),
            seats: Arc::clone(&seats),
            is_rebuilding: AtomicBool::new(false),
        });
        let mut consumer = Self {
            store,
            plan,
            seats,
            failures,
            threads: Vec::new(),
            leaseholder,
        };
        let (bell, rings) = bounded(1);
        consumer.plan.stop.notify(bell.clone());
        for number in 0..threads {
            let run = consumer.thread(bell.clone());
            consumer
                .threads
                .push(Thread::start(&format!("emt:tenants/{number}"), run)?);
        }
        let scheduler = Scheduler::new(
            consumer.store.clone(),
            &consumer.plan,
            &consumer.seats,
            &consumer.failures,
            rings,
        );
        consumer
            .threads
            .push(Thread::start("emt:tenants", move || scheduler.run())?);
        let renewer = consumer.store.lease_renewer();
        renewer.add(Arc::clone(&consumer.leaseholder))?;
        Ok(consumer)
    }

    /// Returns a thread's main function, which works for one tenant after the other.
    fn thread(&self, bell: Sender<()>) -> impl FnOnce() + Send + 'static {
        let (seats, plan) = (Arc::clone(&self.seats), Arc::clone(&self.plan));
        move || loop {
            select! {
                recv(seats.queue()) -> seat => {
                    let Ok(seat) = seat else { return };
                    seat.run();
                    let _ = bell.try_send(());
                    if plan.stop.is_stopped() {
                        seats.close_if_ended();
                    }
                }
                recv(seats.closed()) -> _ => return,
            }
        }
    }

    /// Stops the consumer cleanly, like [`Consumer::stop`](crate::consumer::Consumer::stop).
    ///
    /// # Errors
    /// The errors of [`stop_within`](TenantsConsumer::stop_within).
    pub fn stop(self) -> Result<()> {
        self.stop_within(STOP_WITHIN)
    }

    /// Stops the consumer cleanly, and waits for its threads at most this long, like
    /// [`Consumer::stop_within`](crate::consumer::Consumer::stop_within).
    ///
    /// # Errors
    /// - [`ProcessorError::StillRunning`](crate::error::ProcessorError::StillRunning) when threads have not ended in
    ///   time. The error names them.
    /// - [`ProcessorError::Failed`](crate::error::ProcessorError::Failed) when a processor has failed in a tenant.
    ///   The error names the first such tenant, in order of name.
    pub fn stop_within(mut self, time: Duration) -> Result<()> {
        self.finish(time)
    }

    /// Waits until a [`StopHandle`](crate::consumer::StopHandle) is used, and then at most 30 seconds for the threads.
    ///
    /// # Errors
    /// The errors of [`stop_within`](TenantsConsumer::stop_within).
    pub fn wait(mut self) -> Result<()> {
        let (bell, stopped) = bounded(1);
        self.plan.stop.notify(bell);
        let _ = stopped.recv();
        self.finish(STOP_WITHIN)
    }

    /// Returns the number of messages that a processor has handled in a tenant since the start of the consumer.
    /// Returns 0 for a tenant that the consumer does not serve.
    pub fn handled(&self, tenant: &str, processor: &str) -> u64 {
        let seats = self.seats.named(tenant);
        let shared = seats.iter().filter_map(|seat| seat.shared());
        shared.map(|shared| shared.handled(processor)).sum()
    }

    /// Returns the reason why a processor waits for the database in a tenant, and the time of its next attempt. Returns
    /// `None` if it does not wait.
    pub fn waiting(&self, tenant: &str, processor: &str) -> Option<Waiting> {
        let seats = self.seats.named(tenant);
        seats
            .iter()
            .filter_map(|seat| seat.shared())
            .find_map(|shared| shared.waiting(processor))
    }

    /// Returns the reason why a tenant is not served, or why one of its processors has stopped. Returns `None` if
    /// there is none.
    pub fn failure(&self, tenant: &str) -> Option<String> {
        self.failures.of(tenant)
    }

    fn finish(&mut self, time: Duration) -> Result<()> {
        let failure = self.join(time).or_else(|| self.failures.take());
        failure.map_or(Ok(()), Err)
    }

    fn join(&mut self, time: Duration) -> Option<crate::error::Error> {
        self.plan.stop.stop();
        let failure = join_all(self.threads.drain(..), time);
        self.store.lease_renewer().remove(&self.leaseholder);
        failure
    }
}

impl Drop for TenantsConsumer {
    fn drop(&mut self) {
        self.join(STOP_WITHIN);
    }
}

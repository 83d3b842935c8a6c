//! The thread that renews the leases of all consumers of a store, whether their workers are busy or idle.

use super::renewal::{LivingWorker, RenewedWorker, renew};
use super::survived;
use crate::database::{Checkout, Connections, Sql};
use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of renewals before a lease would expire.
const RENEWALS: u32 = 4;

/// Limit on the time until operators' requests are seen, for long leases.
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);

/// Interval after a failed renewal, while the leases approach expiry.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// The workers of a consumer, as the renewer sees them.
pub(crate) trait Leaseholder: Send + Sync {
    /// Returns the duration of its workers' leases.
    fn lease(&self) -> Duration;

    /// Returns the workers whose threads run.
    fn living(&self) -> Vec<LivingWorker>;

    /// Receives the table's state of these workers, in the order of [`living`](Leaseholder::living).
    fn renewed(self: Arc<Self>, workers: &[(LivingWorker, RenewedWorker)]);

    /// Receives the error of a failed renewal.
    fn not_renewed(&self, error: &Error);
}

/// Renews the leases of added consumers. Removing the last one ends the thread and its connection.
#[derive(Clone)]
pub(crate) struct LeaseRenewer {
    thread: Arc<RenewerThread>,
}

impl LeaseRenewer {
    pub(crate) fn new(connections: &Connections, schema: &Arc<str>) -> Self {
        let thread = RenewerThread {
            connections: connections.clone(),
            schema: Arc::clone(schema),
            holders: Mutex::default(),
            bell: bounded(1),
        };
        Self {
            thread: Arc::new(thread),
        }
    }

    pub(crate) fn add(&self, holder: Arc<dyn Leaseholder>) -> Result<()> {
        let mut holders = self.thread.holders.lock();
        if holders.of.is_empty() && !holders.has_thread {
            let thread = Arc::clone(&self.thread);
            std::thread::Builder::new()
                .name("emt:renew".into())
                .spawn(move || thread.run())
                .map_err(|source| Error::Thread { source })?;
            holders.has_thread = true;
        }
        holders.of.push(holder);
        self.thread.ring();
        Ok(())
    }

    /// Removes a consumer whose workers have ended. A consumer that was never added is ignored.
    pub(crate) fn remove(&self, holder: &Arc<dyn Leaseholder>) {
        let mut holders = self.thread.holders.lock();
        holders.of.retain(|other| !is_same(other, holder));
        self.thread.ring();
    }
}

/// Compares addresses only: the vtable's address may differ for the same object.
fn is_same(one: &Arc<dyn Leaseholder>, other: &Arc<dyn Leaseholder>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

struct RenewerThread {
    connections: Connections,
    schema: Arc<str>,
    holders: Mutex<Holders>,
    /// Rings when the holders change.
    bell: (Sender<()>, Receiver<()>),
}

#[derive(Default)]
struct Holders {
    of: Vec<Arc<dyn Leaseholder>>,
    /// Kept under the lock of the holders, so that the thread cannot end while one is added.
    has_thread: bool,
}

impl RenewerThread {
    fn ring(&self) {
        // A bell that has rung and was not yet heard needs no second ring.
        let _ = self.bell.0.try_send(());
    }

    fn run(&self) {
        // Outside the pool: a program that uses all connections of the pool must not lose its leases.
        let mut connection = None;
        let mut renewed_at = Instant::now();
        let mut has_failed = false;
        while let Some(holders) = self.holders() {
            let due = renewed_at + interval(&holders, has_failed);
            // A ring changes the time of the next renewal.
            if self.bell.1.recv_deadline(due).is_ok() {
                continue;
            }
            renewed_at = Instant::now();
            let outcome = self.renew(&mut connection, &holders);
            has_failed = outcome.is_err();
            if let Err(error) = outcome {
                connection = None;
                for holder in &holders {
                    holder.not_renewed(&error);
                }
            }
        }
    }

    /// Returns `None` if there are no holders: the thread then ends.
    fn holders(&self) -> Option<Vec<Arc<dyn Leaseholder>>> {
        let mut holders = self.holders.lock();
        holders.has_thread = !holders.of.is_empty();
        holders.has_thread.then(|| holders.of.clone())
    }

    fn renew(
        &self,
        connection: &mut Option<Checkout>,
        holders: &[Arc<dyn Leaseholder>],
    ) -> Result<()> {
        let (mut workers, mut counts) = (Vec::new(), Vec::new());
        for holder in holders {
            let living = holder.living();
            counts.push(living.len());
            workers.extend(living);
        }
        if workers.is_empty() {
            return Ok(());
        }
        let renewed = self.ask(connection, &workers)?;
        let mut workers = workers.into_iter().zip(renewed);
        for (holder, count) in holders.iter().zip(counts) {
            let own: Vec<_> = workers.by_ref().take(count).collect();
            Arc::clone(holder).renewed(&own);
        }
        Ok(())
    }

    /// Renews over the thread's own connection, or over the pool if it cannot have one.
    fn ask(
        &self,
        connection: &mut Option<Checkout>,
        workers: &[LivingWorker],
    ) -> Result<Vec<RenewedWorker>> {
        if connection.is_none() {
            *connection = self.connections.dedicated()?;
        }
        match connection {
            Some(connection) => self
                .connections
                .run_over(connection, |sql| self.renew_by(sql, workers)),
            None => self
                .connections
                .run(true, |sql| self.renew_by(sql, workers)),
        }
    }

    fn renew_by(&self, sql: &mut dyn Sql, workers: &[LivingWorker]) -> Result<Vec<RenewedWorker>> {
        let renewed = renew(sql, &self.schema, workers)?;
        for worker in workers {
            if let Some(survived) = &worker.survived {
                survived::note(sql, &self.schema, worker, survived)?;
            }
        }
        Ok(renewed)
    }
}

/// Returns the time until the next renewal: a part of the shortest lease.
fn interval(holders: &[Arc<dyn Leaseholder>], has_failed: bool) -> Duration {
    let leases = holders.iter().map(|holder| holder.lease());
    let shortest = leases.min().unwrap_or(LONGEST_INTERVAL);
    let regular = (shortest / RENEWALS).min(LONGEST_INTERVAL);
    if has_failed {
        return (regular / 4).max(SHORTEST_INTERVAL);
    }
    regular
}

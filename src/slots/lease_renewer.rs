//! The thread that renews the leases of all consumers of a store, also while their workers are busy or idle.

use super::renewal::{LivingWorker, RenewedWorker, renew};
use super::survived;
use crate::database::{Checkout, Connections, Sql};
use crate::error::{Error, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a lease is renewed before it would run out.
const RENEWALS: u32 = 4;

/// Requests of operators are seen by then, however long the leases are.
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);

/// After a renewal that failed: the leases run out meanwhile.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// The workers of a consumer, as the renewer knows them.
pub(crate) trait Leaseholder: Send + Sync {
    /// For how long its workers hold their slots.
    fn lease(&self) -> Duration;

    /// The workers whose threads run.
    fn living(&self) -> Vec<LivingWorker>;

    /// What the table says of these workers, in the order of [`living`](Leaseholder::living).
    fn renewed(self: Arc<Self>, workers: &[(LivingWorker, RenewedWorker)]);

    /// The leases could not be renewed.
    fn not_renewed(&self, error: &Error);
}

/// Renews the leases of the consumers that were added; with the last of them, its thread and its connection end.
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

    /// Forgets a consumer whose workers have ended. One that was never added is none.
    pub(crate) fn remove(&self, holder: &Arc<dyn Leaseholder>) {
        let mut holders = self.thread.holders.lock();
        holders.of.retain(|other| !is_same(other, holder));
        self.thread.ring();
    }
}

/// The address is all that tells them apart; that of the table of functions may differ for one and the same.
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
    /// It stands beside the holders so that the thread cannot end just when one is added.
    has_thread: bool,
}

impl RenewerThread {
    fn ring(&self) {
        // A bell that has rung and was not heard yet needs no second ring.
        let _ = self.bell.0.try_send(());
    }

    fn run(&self) {
        // Outside the pool: a program that keeps all connections of the pool busy must not lose its leases.
        let mut connection = None;
        let mut renewed_at = Instant::now();
        let mut has_failed = false;
        while let Some(holders) = self.holders() {
            let due = renewed_at + interval(&holders, has_failed);
            // A ring changes when the next renewal is due.
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

    /// `None` when there are none, and the thread is to end.
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

    /// Asks over the thread's connection; over the pool where it can have none of its own.
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

/// How long after a renewal the next one is due: the shortest lease decides.
fn interval(holders: &[Arc<dyn Leaseholder>], has_failed: bool) -> Duration {
    let leases = holders.iter().map(|holder| holder.lease());
    let shortest = leases.min().unwrap_or(LONGEST_INTERVAL);
    let regular = (shortest / RENEWALS).min(LONGEST_INTERVAL);
    if has_failed {
        return (regular / 4).max(SHORTEST_INTERVAL);
    }
    regular
}

//! The thread that polls the feeds of all tenants, and wakes their seats.

use super::failures::Failures;
use super::seat::Seat;
use super::seats::Seats;
use super::work::TenantWork;
use crate::consumer::plan::{Found, Plan};
use crate::database::{BackOff, Checkout, Sql};
use crate::error::Result;
use crate::events::RungPartitions;
use crate::events::feed_news::{self, FeedNews, ReadTenant, TenantKey};
use crate::store::EventStore;
use crossbeam_channel::{Receiver, select_biased};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shortest pause while an open append holds a feed back. A rollback sends no notification.
const SHORTEST_HELD: Duration = Duration::from_millis(5);
const LONGEST_HELD: Duration = Duration::from_millis(50);
/// Polling takes at most `1 / SHARE` of the time.
const SHARE: u32 = 5;

const SHORTEST_WAIT: Duration = Duration::from_millis(8);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

pub(super) struct Scheduler {
    pub(super) store: EventStore,
    pub(super) plan: Arc<Plan>,
    pub(super) seats: Arc<Seats>,
    pub(super) failures: Arc<Failures>,
    /// A connection outside the pool: each connection of the pool would cache the tables of all tenants. `None` until
    /// it is opened, and if it cannot be opened.
    connection: Option<Checkout>,
    rung: Arc<RungPartitions>,
    appended: Receiver<()>,
    /// Receives a wake-up when the consumer is stopped, or a thread has finished a turn.
    bell: Receiver<()>,
    /// Last head at which no tenant had work.
    quiet_at: Option<u64>,
    held: BackOff,
    waits: BackOff,
    look_at: Instant,
}

impl Scheduler {
    pub(super) fn new(
        store: EventStore,
        plan: &Arc<Plan>,
        seats: &Arc<Seats>,
        failures: &Arc<Failures>,
        bell: Receiver<()>,
    ) -> Self {
        let rung = Arc::<RungPartitions>::default();
        Self {
            appended: store.wakeups().subscribe_to_all(&rung),
            store,
            plan: Arc::clone(plan),
            seats: Arc::clone(seats),
            failures: Arc::clone(failures),
            connection: None,
            rung,
            bell,
            quiet_at: None,
            held: BackOff::new(SHORTEST_HELD, LONGEST_HELD),
            waits: BackOff::new(SHORTEST_WAIT, LONGEST_WAIT),
            look_at: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
        self.seats.all().iter().for_each(Seat::wake);
        while !self.plan.stop.is_stopped() {
            if Instant::now() >= self.look_at {
                self.look_at = Instant::now() + self.look();
            }
            let due = self.wake_due();
            self.wait(due.min(self.look_at));
        }
        // Each worker releases its leases.
        self.seats.all().iter().for_each(Seat::wake);
        self.seats.close_if_ended();
    }

    /// Polls all tenants in one statement. Returns the time until the next poll.
    fn look(&mut self) -> Duration {
        let begun = Instant::now();
        match self.take_news() {
            Ok(is_held) => {
                self.waits.reset();
                if !is_held {
                    self.held.reset();
                    return self.plan.settings.longest_idle;
                }
                self.held.next().max(begun.elapsed() * SHARE)
            }
            Err(error) => {
                self.connection = None;
                let processors = self.plan.processors.iter();
                processors.for_each(|processor| processor.report(&error));
                self.waits.next()
            }
        }
    }

    fn take_news(&mut self) -> Result<bool> {
        let seats = self.seats.all();
        let resting: Vec<_> = seats.iter().map(|seat| seat.rest()).collect();
        let known: Vec<ReadTenant> = seats
            .iter()
            .zip(&resting)
            .map(|(seat, rest)| ReadTenant {
                tenant: seat.tenant.clone(),
                after: rest.and_then(|rest| rest.after),
            })
            .collect();
        let news = self.ask(&known)?;
        // A tenant that runs meanwhile was not polled.
        let is_complete = resting.iter().all(Option::is_some);
        let is_quiet = is_complete && news.readable.is_empty() && !news.is_held;
        self.quiet_at = is_quiet.then_some(news.head);
        let is_held = news.is_held;
        self.act_on(news);
        Ok(is_held)
    }

    fn ask(&mut self, known: &[ReadTenant]) -> Result<FeedNews> {
        let (connections, quiet_at) = (self.store.connections(), self.quiet_at);
        let schema = self.store.partition().schema();
        let ask = |sql: &mut dyn Sql| feed_news::news(sql, schema, known, quiet_at);
        if self.connection.is_none() {
            self.connection = connections.dedicated()?;
        }
        match &mut self.connection {
            Some(connection) => connections.run_over(connection, ask),
            None => connections.run(true, ask),
        }
    }

    fn act_on(&self, news: FeedNews) {
        for tenant in &news.removed {
            if let Some(seat) = self.seats.remove(tenant) {
                seat.remove();
            }
            self.failures.forget(tenant);
        }
        for tenant in news.added {
            // An impossible tenant name has no tables.
            if let Ok(seat) = self.seat(tenant) {
                self.seats.add(Arc::clone(&seat));
                seat.wake();
            }
        }
        let readable = news.readable.iter();
        let seats = readable.filter_map(|tenant| self.seats.find(tenant));
        seats.for_each(|seat| seat.wake());
    }

    fn seat(&self, tenant: TenantKey) -> Result<Arc<Seat>> {
        let store = self.store.tenant(&tenant.name)?;
        let work = TenantWork::new(&self.plan, store, Found::Later, &self.failures);
        Ok(Seat::new(tenant, work, self.seats.ready().clone()))
    }

    /// Wakes the seats that are due. Returns the time at which the next one is due.
    fn wake_due(&self) -> Instant {
        let now = Instant::now();
        let mut next = now + LONGEST_WAIT;
        for seat in self.seats.all() {
            match seat.rest().and_then(|rest| rest.until) {
                Some(until) if until <= now => seat.wake(),
                Some(until) => next = next.min(until),
                None => {}
            }
        }
        next
    }

    fn wait(&mut self, until: Instant) {
        select_biased! {
            recv(self.appended) -> _ => self.wake_rung(),
            // The seat's tenant was not polled while it ran.
            recv(self.bell) -> _ => self.quiet_at = None,
            default(until.saturating_duration_since(Instant::now())) => {}
        }
    }

    /// Wakes the seats of tenants with new events.
    fn wake_rung(&mut self) {
        let rung = self.rung.take();
        if rung.is_any {
            self.look_at = Instant::now();
        }
        for partition in &rung.partitions {
            let seats = self.seats.named(partition);
            seats.iter().for_each(Seat::wake);
        }
    }
}

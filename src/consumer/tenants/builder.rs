//! Setting up a consumer for all tenants.

use super::failures::Failures;
use super::running::TenantsConsumer;
use super::seat::Seat;
use super::seats::Seats;
use super::work::TenantWork;
use crate::consumer::builder::ConsumerBuilder;
use crate::consumer::plan::{Found, Plan};
use crate::error::{Error, Result};
use crate::events::feed_news::TenantKey;
use crate::store::EventStore;
use std::sync::Arc;
use std::time::Duration;

const THREADS: usize = 4;

/// A table that somebody has locked must not keep a thread from the other tenants.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Sets up a [`TenantsConsumer`], one consumer for all tenants.
///
/// ```no_run
/// # use emmett_postgresql::{EventStore, RawEvent, Reactor, Recorded};
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// # let store = EventStore::open("postgresql://localhost/shop")?;
/// let reactor = Reactor::new("audit").each(|message: &Recorded<RawEvent>, context| {
///     println!("{}: {}", context.partition(), message.message_type);
///     Ok(())
/// });
/// let consumer = store.consumer().reactor(reactor).for_all_tenants().threads(8).start()?;
/// // ...
/// consumer.stop()?;
/// # Ok(())
/// # }
/// ```
#[must_use]
#[derive(Debug)]
pub struct TenantsConsumerBuilder {
    builder: ConsumerBuilder,
    threads: usize,
}

impl ConsumerBuilder {
    /// Runs the processors for each tenant of the store, those that are added later included, with a fixed number of threads:
    /// many idle tenants cost one look at the database each [`poll_interval`](Self::poll_interval). The store itself, the
    /// default partition, is no tenant: [`start`](Self::start) another consumer for it.
    ///
    /// Each tenant keeps checkpoints, parked messages and read models of its own, the same as with a consumer of
    /// [its own](EventStore::tenant), so that both can take turns. A handler learns the tenant by
    /// [`partition`](crate::Transaction::partition) of its context. A job runs tenant by tenant: call
    /// [`run_until_caught_up`](Self::run_until_caught_up) for each of [`Tenants::list`](crate::events::Tenants::list).
    pub fn for_all_tenants(self) -> TenantsConsumerBuilder {
        TenantsConsumerBuilder {
            builder: self,
            threads: THREADS,
        }
    }
}

impl TenantsConsumerBuilder {
    /// Number of threads that work for the tenants: how many tenants are served at the same time. One thread at a time works
    /// for a tenant, so a processor has one worker in each. A handler that waits or is retried keeps its thread; a
    /// thread uses one connection of the pool at a time. At least 1; defaults to 4.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Registers the processors for each tenant, and starts the threads.
    ///
    /// A processor that fails stops in its tenant, and goes on in the others. A tenant that is added later is served from its
    /// first event on, whatever [`start_from`](crate::Projector::start_from) says; where its processors cannot be registered,
    /// `on_error` is told, and it is tried again.
    ///
    /// # Errors
    /// Those of [`ConsumerBuilder::start`], for the first tenant that has one; [`Error::InvalidInput`] for 0 threads, and for
    /// a processor with more than one worker.
    pub fn start(self) -> Result<TenantsConsumer> {
        if self.threads == 0 {
            return Err(Error::invalid(
                "the number of threads",
                "must be at least 1",
            ));
        }
        let mut builder = self.builder;
        builder.settings.lock_patience = Some(LOCK_PATIENCE);
        let (store, plan) = builder.into_plan()?;
        refuse_workers(&plan)?;
        let (plan, failures) = (Arc::new(plan), Arc::default());
        let seats = Arc::new(Seats::new());
        for tenant in store.tenants().list()? {
            let tenant = TenantKey {
                name: tenant.name,
                created_at: tenant.created_at,
            };
            if let Some(seat) = seat(&store, &plan, &failures, &seats, tenant)? {
                seats.add(seat);
            }
        }
        TenantsConsumer::start(store, plan, seats, failures, self.threads)
    }
}

fn refuse_workers(plan: &Plan) -> Result<()> {
    let mut processors = plan.processors.iter();
    let Some(processor) = processors.find(|processor| processor.workers() > 1) else {
        return Ok(());
    };
    Err(Error::invalid(
        format!("processor \"{}\"", processor.name),
        "has one worker in each tenant: set the threads of the consumer instead of workers",
    ))
}

/// `None` for a tenant that was removed meanwhile.
fn seat(
    store: &EventStore,
    plan: &Arc<Plan>,
    failures: &Arc<Failures>,
    seats: &Seats,
    tenant: TenantKey,
) -> Result<Option<Arc<Seat>>> {
    let store = store.tenant(&tenant.name)?;
    let mut work = TenantWork::new(plan, store, Found::AtStart, failures);
    match work.prepare() {
        Ok(()) => Ok(Some(Seat::new(tenant, work, seats.ready().clone()))),
        Err(Error::UnknownTenant { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

//! The builder of a consumer for all tenants.

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

/// A locked table of one tenant must not keep a thread from the other tenants.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Configures a [`TenantsConsumer`], one consumer for all tenants.
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
    /// Runs the processors for each tenant of the store, with a fixed number of threads. Tenants that are added later
    /// are included. Many idle tenants cost one query each [`poll_interval`](Self::poll_interval). The default
    /// partition is not a tenant: [`start`](Self::start) another consumer for it.
    ///
    /// Each tenant has its own checkpoints, parked messages and read models. A consumer of [one
    /// tenant](EventStore::tenant) uses the same ones, so that both can take turns. Handlers read the tenant from
    /// [`partition`](crate::Transaction::partition) of their context. A job runs tenant by tenant: call
    /// [`run_until_caught_up`](Self::run_until_caught_up) for each of
    /// [`Tenants::list`](crate::events::Tenants::list).
    pub fn for_all_tenants(self) -> TenantsConsumerBuilder {
        TenantsConsumerBuilder {
            builder: self,
            threads: THREADS,
        }
    }
}

impl TenantsConsumerBuilder {
    /// Number of worker threads, and so of tenants that are served at the same time. One thread at a time works for a
    /// tenant, so each processor has one worker there. A handler that waits or is retried keeps its thread. A thread
    /// uses one connection of the pool at a time. At least 1. Defaults to 4.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Registers the processors for each tenant, and starts the threads.
    ///
    /// A failed processor stops in its tenant only. A tenant that is added later is served from its first event on,
    /// regardless of [`start_from`](crate::Projector::start_from). If its processors cannot be registered, `on_error`
    /// receives the error, and the registration is retried.
    ///
    /// # Errors
    /// - The errors of [`ConsumerBuilder::start`], for the first tenant that has one.
    /// - [`Error::InvalidInput`] for 0 threads, or for a processor with more than one worker.
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

/// Returns `None` if the tenant was removed meanwhile.
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

//! Setting up a consumer.

use super::job::{Goal, RunReport};
use super::mailbox::Mailbox;
use super::new_types;
use super::on_new_types::OnNewTypes;
use super::processor::{Processor, StartFrom};
use super::projector::Projector;
use super::reactor::Reactor;
use super::running::Consumer;
use super::shared::{Settings, Shared};
use super::stop::StopHandle;
use crate::database::PooledTransaction;
use crate::error::{Error, Result};
use crate::events::feed;
use crate::projection::{ProjectionContext, ProjectionType, registry};
use crate::store::EventStore;
use crossbeam_channel::bounded;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Sets up a [`Consumer`], or runs a job.
///
/// ```no_run
/// # use emmett_postgresql::{EventStore, Reactor, RawEvent, Recorded};
/// # fn main() -> Result<(), emmett_postgresql::Error> {
/// # let store = EventStore::builder("postgresql://localhost/shop").open()?;
/// let consumer = store
///     .consumer()
///     .reactor(Reactor::new("audit").each(|message: &Recorded<RawEvent>, _| {
///         println!("{} {}", message.global_position, message.message_type);
///         Ok(())
///     }))
///     .start()?;
/// // ...
/// consumer.stop()?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct ConsumerBuilder {
    store: EventStore,
    processors: Vec<Processor>,
    settings: Settings,
    stop: StopHandle,
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.processors.iter().map(|processor| &processor.name);
        formatter
            .debug_struct("ConsumerBuilder")
            .field("processors", &names.collect::<Vec<_>>())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl EventStore {
    /// Begins to set up a consumer: threads that keep read models and react to events, in the background.
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder {
            store: self.clone(),
            processors: Vec::new(),
            settings: Settings {
                batch_size: 1_000,
                lease: Duration::from_secs(10),
                longest_idle: Duration::from_millis(500),
                until: None,
            },
            stop: StopHandle::new(),
        }
    }
}

/// A shorter lease would be lost by a busy machine.
const SHORTEST_LEASE: Duration = Duration::from_millis(200);

impl ConsumerBuilder {
    /// Keeps a read model: a [`Projector`], or just a projection.
    pub fn projector(mut self, projector: impl Into<Projector>) -> Self {
        self.processors.push(projector.into().into_processor());
        self
    }

    /// Reacts to events.
    pub fn reactor(mut self, reactor: Reactor) -> Self {
        self.processors.push(reactor.into_processor());
        self
    }

    /// How many messages are handled in one transaction at the most. Up to three such batches are in memory for each worker.
    /// Defaults to 1,000.
    pub fn batch_size(mut self, messages: usize) -> Self {
        self.settings.batch_size = messages.max(1);
        self
    }

    /// How long a worker keeps its processors without a sign of life: after a crash, others take over in that time. A
    /// transaction that is idle for longer, and a statement that takes longer (unless the connection has a `statement_timeout`
    /// of its own), are ended by the server. At least 200 milliseconds; defaults to ten seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// The longest pause between two looks at the feed when nothing happens. Appends of this library wake consumers up;
    /// those of others, and those that cannot be heard behind `PgBouncer`, are noticed after this time. Defaults to half a
    /// second.
    pub fn poll_interval(mut self, longest: Duration) -> Self {
        self.settings.longest_idle = longest.max(Duration::from_millis(1));
        self
    }

    /// Stops when the handle says so, too.
    pub fn stop_on(mut self, stop: &StopHandle) -> Self {
        self.stop = stop.child();
        self
    }

    /// Starts the threads, which run until the consumer is stopped or dropped. Errors are states of their processors: they are
    /// given to [`on_error`](Projector::on_error), shown by [`EventStore::processors`], and returned by [`Consumer::stop`].
    ///
    /// A processor that another process runs already is on standby here, and taken over when that process ends or dies. One
    /// that has failed is tried again.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] without processors, with two of one name, or with another number of slots than is stored;
    /// [`ProjectionError::Mismatch`](crate::ProjectionError::Mismatch) when another version of a projection is the active one,
    /// or it is kept inline; [`ProjectionError::Failed`](crate::ProjectionError::Failed) when a projection's `init` fails;
    /// those of the database.
    pub fn start(self) -> Result<Consumer> {
        let (shared, slots) = self.prepare(None)?;
        Consumer::start(&shared, &slots)
    }

    /// Runs until everything was handled that is in the store now, then returns: a batch job, bounded, resumable, one at a
    /// time.
    ///
    /// # Errors
    /// [`ProcessorError::Busy`](crate::ProcessorError::Busy) when another process runs one of the processors, and those of
    /// [`start`](ConsumerBuilder::start). What ends a run that has begun is in the report.
    pub fn run_until_caught_up(self) -> Result<RunReport> {
        self.run(Goal::Head)
    }

    /// Runs until everything up to a global position was handled, then returns; nothing after it is handled.
    ///
    /// # Errors
    /// Those of [`run_until_caught_up`](ConsumerBuilder::run_until_caught_up).
    pub fn run_to(self, position: u64) -> Result<RunReport> {
        self.run(Goal::Position(position))
    }

    /// Runs for a time, then returns. Batches in hand are finished.
    ///
    /// # Errors
    /// Those of [`run_until_caught_up`](ConsumerBuilder::run_until_caught_up).
    pub fn run_for(self, time: Duration) -> Result<RunReport> {
        self.run(Goal::Time(time))
    }

    fn run(self, goal: Goal) -> Result<RunReport> {
        let store = self.store.clone();
        let target = match goal {
            Goal::Head => Some(store.feed_horizon(0)?.head),
            Goal::Position(position) => Some(position),
            Goal::Time(_) => None,
        };
        let (shared, slots) = self.prepare(target)?;
        super::job::run(&shared, &slots, goal, target)
    }

    /// Checks the processors and registers them.
    fn prepare(self, until: Option<u64>) -> Result<(Arc<Shared>, Vec<u32>)> {
        self.check()?;
        self.store.register_projections()?;
        let mut mailboxes = Vec::new();
        let mut slots = Vec::new();
        let shared = Shared {
            store: self.store,
            settings: Settings {
                until,
                ..self.settings
            },
            owner: Uuid::now_v7().to_string(),
            mailboxes: Vec::new(),
            stop: self.stop,
            poller: bounded(1),
        };
        for processor in self.processors {
            let count = register(&shared, &processor)?;
            let processor = Arc::new(processor);
            for worker in 0..processor.workers() {
                let worker = i32::try_from(worker).unwrap_or(i32::MAX);
                mailboxes.push(Arc::new(Mailbox::new(Arc::clone(&processor), worker)));
                slots.push(count);
            }
        }
        Ok((
            Arc::new(Shared {
                mailboxes,
                ..shared
            }),
            slots,
        ))
    }

    fn check(&self) -> Result<()> {
        if self.processors.is_empty() {
            return Err(Error::invalid("the consumer", "has no processors"));
        }
        if self.settings.lease < SHORTEST_LEASE {
            let reason = format!("must be at least {SHORTEST_LEASE:?}");
            return Err(Error::invalid("the lease", reason));
        }
        for (index, processor) in self.processors.iter().enumerate() {
            processor.check()?;
            let is_same = |other: &Processor| other.name == processor.name;
            if self.processors[..index].iter().any(is_same) {
                let what = format!("processor \"{}\"", processor.name);
                return Err(Error::invalid(what, "is given twice"));
            }
            let Some(projection) = processor.projection() else {
                continue;
            };
            let keeps = |other: &Processor| {
                let kept = other.projection();
                kept.is_some_and(|kept| kept.name() == projection.name())
            };
            if self.processors[..index].iter().any(keeps) {
                let what = format!("projection \"{}\"", projection.name());
                return Err(Error::invalid(what, "is given to two processors"));
            }
        }
        Ok(())
    }
}

/// Creates a processor's read model and slots; returns how many slots it has.
fn register(shared: &Shared, processor: &Processor) -> Result<u32> {
    let (store, key) = (&shared.store, shared.key(processor));
    let projection = processor.projection();
    if let Some(projection) = projection {
        let failed = |source| Error::projection(projection.name(), source);
        let mut transaction = PooledTransaction::begin(store.connections())?;
        if store.may_migrate() {
            let mut context = ProjectionContext::new(transaction.sql(), store.partition());
            projection.init(&mut context).map_err(failed)?;
        }
        registry::register(
            transaction.sql(),
            store.partition(),
            projection.as_ref(),
            processor.version,
            ProjectionType::Asynchronous,
        )?;
        transaction.commit()?;
    }
    let start = match processor.options.start_from {
        StartFrom::Beginning => 0,
        StartFrom::Position(position) => position,
        StartFrom::End => {
            shared
                .run(|sql| feed::horizon(sql, store.partition(), 0))?
                .position
        }
    };
    let kept = projection.map(|projection| projection.name());
    let slots = shared
        .run(|sql| key.register(sql, processor.new_slots(), start, kept, &processor.handled))?;
    let asked = processor.options.slots;
    if asked.is_some_and(|asked| asked != slots) {
        return Err(Error::invalid(
            format!("processor \"{}\"", processor.name),
            format!(
                "was started with {slots} slots before, and has {} here: the number cannot be changed",
                processor.new_slots()
            ),
        ));
    }
    if processor.options.on_new_types == OnNewTypes::Refuse {
        new_types::refuse(shared, processor)?;
    }
    Ok(slots)
}

//! Setting up a consumer.

use super::job::{RunProgress, RunUntil};
use super::plan::{Found, Plan};
use super::processor::Processor;
use super::projector::Projector;
use super::reactor::Reactor;
use super::running::Consumer;
use super::shared::{Settings, Shared};
use super::stop::StopHandle;
use crate::error::{Error, Result, RunReport};
use crate::events::BatchLimits;
use crate::store::EventStore;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
    pub(super) processors: Vec<Processor>,
    pub(super) settings: Settings,
    pub(super) stop: StopHandle,
    name: Option<String>,
    /// The first processor that cannot be run; said when the consumer starts.
    invalid: Option<Error>,
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
                limits: BatchLimits::default(),
                lease: Duration::from_secs(10),
                longest_idle: Duration::from_millis(500),
                until: None,
                is_job: false,
                lock_patience: None,
            },
            stop: StopHandle::new(),
            name: None,
            invalid: None,
        }
    }
}

impl ConsumerBuilder {
    /// Keeps a read model: a [`Projector`], or just a projection.
    pub fn projector(self, projector: impl Into<Projector>) -> Self {
        self.add(projector.into().into_processor())
    }

    /// Reacts to events.
    pub fn reactor(self, reactor: Reactor) -> Self {
        self.add(reactor.into_processor())
    }

    fn add(mut self, processor: Result<Processor>) -> Self {
        match processor {
            Ok(processor) => self.processors.push(processor),
            Err(error) => self.invalid = self.invalid.or(Some(error)),
        }
        self
    }

    /// How many messages are handled in one transaction at the most. Up to three such batches are in memory for each worker.
    /// At least 1; defaults to 1,000.
    pub fn batch_size(mut self, messages: usize) -> Self {
        self.settings.limits.messages = messages;
        self
    }

    /// Maximum number of bytes of the messages that are handled in one transaction: their JSON, and 256 bytes for each. A single
    /// larger message passes. Up to three such batches are in memory for each worker, but workers at the same place of the feed
    /// share them. At least 1: [`start`](Self::start) fails with [`Error::InvalidInput`] for 0. Defaults to 16 MiB.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/mydb")?;
    /// let small_batches = store.consumer().batch_size(500).max_batch_bytes(4 * 1024 * 1024);
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.bytes = bytes;
        self
    }

    /// How long a worker keeps its processors without a sign of life: after a crash, others take over in that time. A
    /// transaction that is idle for longer, and a statement that takes longer (unless the connection has a `statement_timeout`
    /// of its own), are ended by the server. From 200 milliseconds to 24 days; defaults to ten seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// The longest pause between two looks at the feed when nothing happens. Appends of this library wake consumers up;
    /// those of others, and those that cannot be heard behind `PgBouncer`, are noticed after this time. At least
    /// one millisecond; defaults to half a second.
    pub fn poll_interval(mut self, longest: Duration) -> Self {
        self.settings.longest_idle = longest;
        self
    }

    /// Name of the consumer, which operators see as the owner of its processors, with the process id: up to 100 printable ASCII
    /// characters. Several consumers may have the same. Defaults to the host's name.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// let billing = store.consumer().name("billing");
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
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
    /// [`ProjectionError::Mismatch`](crate::error::ProjectionError::Mismatch) when another version of a projection is the active one,
    /// or it is kept inline; [`ProjectionError::Failed`](crate::error::ProjectionError::Failed) when a projection's `init` fails;
    /// those of the database.
    pub fn start(self) -> Result<Consumer> {
        let (shared, slots) = self.prepare(None)?;
        Consumer::start(&shared, &slots)
    }

    /// Runs until everything was handled that is in the store now, then returns: a batch job, bounded, resumable, one at a
    /// time. What was asked for is carried out before it returns: replays and discards of what its processors have parked, and
    /// rebuilds of projections that the program has. A rebuild that another program is at is left to that one.
    ///
    /// # Errors
    /// [`ProcessorError::Busy`](crate::error::ProcessorError::Busy) when another process runs one of the processors, and those of
    /// [`start`](ConsumerBuilder::start). [`ProcessorError::JobFailed`](crate::error::ProcessorError::JobFailed), which holds the
    /// report, when a processor fails or the database does for good.
    pub fn run_until_caught_up(self) -> Result<RunReport> {
        self.run(RunUntil::CaughtUp)
    }

    /// Runs until everything up to a global position was handled, then returns; nothing after it is handled.
    ///
    /// # Errors
    /// Those of [`run_until_caught_up`](ConsumerBuilder::run_until_caught_up).
    pub fn run_to(self, position: u64) -> Result<RunReport> {
        self.run(RunUntil::Position(position))
    }

    /// Runs for a time, then returns. Batches in hand are finished.
    ///
    /// # Errors
    /// Those of [`run_until_caught_up`](ConsumerBuilder::run_until_caught_up).
    pub fn run_for(self, time: Duration) -> Result<RunReport> {
        self.run(RunUntil::Elapsed(time))
    }

    /// Runs until there is a reason to end, then returns.
    ///
    /// # Errors
    /// Those of [`run_until_caught_up`](ConsumerBuilder::run_until_caught_up); with [`RunUntil::Stopped`], a processor that
    /// another process runs is no error: it is on standby here.
    pub fn run(self, until: RunUntil) -> Result<RunReport> {
        self.run_with_progress(until, &mut |_| ())
    }

    pub(super) fn run_with_progress(
        self,
        until: RunUntil,
        on_progress: &mut dyn FnMut(RunProgress),
    ) -> Result<RunReport> {
        let store = self.store.clone();
        let target = match until {
            RunUntil::CaughtUp => Some(store.feed_horizon(0)?.head),
            RunUntil::Position(position) => Some(position),
            RunUntil::Elapsed(_) | RunUntil::Stopped => None,
        };
        let mut consumer = self;
        consumer.settings.is_job = until != RunUntil::Stopped;
        let (shared, slots) = consumer.prepare(target)?;
        super::job::run(&shared, &slots, until, target, on_progress)
    }

    /// Checks the processors and registers them.
    fn prepare(mut self, until: Option<u64>) -> Result<(Arc<Shared>, Vec<u32>)> {
        self.settings.until = until;
        let (store, plan) = self.into_plan()?;
        plan.prepare_in(store, Found::AtStart)
    }

    /// What it runs, checked; nothing is registered yet.
    pub(super) fn into_plan(self) -> Result<(EventStore, Plan)> {
        if let Some(error) = self.invalid {
            return Err(error);
        }
        let plan = Plan::new(self.processors, self.settings, self.stop, self.name)?;
        Ok((self.store, plan))
    }
}

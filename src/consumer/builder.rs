//! The builder of a consumer.

use super::job::{RunProgress, RunUntil};
use super::plan::{Found, Plan};
use super::processor::Processor;
use super::projector::Projector;
use super::reactor::Reactor;
use super::retry_pauses::RetryPauses;
use super::running::Consumer;
use super::shared::{Settings, Shared};
use super::stop::StopHandle;
use super::timers::fire_all;
use super::workflow_processor::WorkflowProcessor;
use crate::error::{Error, Result, RunReport};
use crate::events::BatchLimits;
use crate::store::EventStore;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Configures a [`Consumer`], or runs a batch job.
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
    /// Error of the first invalid processor. It is returned when the consumer starts.
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
    /// Creates the builder of a consumer, whose threads update read models and react to events in the background.
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
                retry_pauses: RetryPauses::default(),
            },
            stop: StopHandle::new(),
            name: None,
            invalid: None,
        }
    }
}

impl ConsumerBuilder {
    /// Adds a read model: a [`Projector`], or a projection with the default options.
    pub fn projector(self, projector: impl Into<Projector>) -> Self {
        self.add(projector.into().into_processor())
    }

    /// Adds a reactor.
    pub fn reactor(self, reactor: Reactor) -> Self {
        self.add(reactor.into_processor())
    }

    /// Adds a workflow.
    pub fn workflow(self, workflow: WorkflowProcessor) -> Self {
        self.add(workflow.into_processor())
    }

    fn add(mut self, processor: Result<Processor>) -> Self {
        match processor {
            Ok(processor) => self.processors.push(processor),
            Err(error) => self.invalid = self.invalid.or(Some(error)),
        }
        self
    }

    /// Maximum number of messages in one transaction, at least 1. Each worker keeps up to three batches in memory.
    /// Defaults to 1,000.
    pub fn batch_size(mut self, messages: usize) -> Self {
        self.settings.limits.messages = messages;
        self
    }

    /// Maximum number of bytes of the messages in one transaction: their JSON, and 256 bytes for each message. A single
    /// larger message passes.
    ///
    /// Each worker keeps up to three such batches in memory. Workers at the same position of the feed share them. At
    /// least 1: [`start`](Self::start) fails with [`Error::InvalidInput`] for 0. Defaults to 16 MiB.
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

    /// Time after which the lease of a crashed worker expires, so that other workers take over its processors. Workers
    /// renew their leases while they run.
    ///
    /// The server also ends transactions that are idle for longer, and statements that take longer. A
    /// `statement_timeout` of the connection replaces the latter limit. From 200 milliseconds to 24 days. Defaults to
    /// ten seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// Maximum time between polls while idle. Appends made through this library wake the consumer at once. Other
    /// clients' appends are found by the next poll, as are those whose notifications do not pass `PgBouncer`. At least
    /// one millisecond. Defaults to 500 milliseconds.
    pub fn poll_interval(mut self, longest: Duration) -> Self {
        self.settings.longest_idle = longest;
        self
    }

    /// Name of the consumer: up to 100 printable ASCII characters. Operators see it, with the process id, as the
    /// owner of the processors. Several consumers may have the same name. Defaults to the host name.
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

    /// Also stops the consumer when this handle is used.
    pub fn stop_on(mut self, stop: &StopHandle) -> Self {
        self.stop = stop.child();
        self
    }

    /// Starts the threads. They run until the consumer is stopped or dropped.
    ///
    /// Later errors become the status of their processor. They are passed to [`on_error`](Projector::on_error), shown
    /// by [`EventStore::processors`], and returned by [`Consumer::stop`].
    ///
    /// A processor that another process runs is on standby here. It is taken over when that process ends or crashes. A
    /// processor that has failed earlier is started again.
    ///
    /// # Errors
    /// - [`Error::InvalidInput`] without processors, with two processors of one name, or with a number of slots that
    ///   differs from the stored one.
    /// - [`ProjectionError::Mismatch`](crate::error::ProjectionError::Mismatch) when another version of a projection is
    ///   active, or the projection is inline.
    /// - [`ProjectionError::Failed`](crate::error::ProjectionError::Failed) when a projection's `init` fails.
    /// - Errors of the database.
    pub fn start(self) -> Result<Consumer> {
        let (shared, slots) = self.prepare(None)?;
        Consumer::start(&shared, &slots)
    }

    /// Handles everything that is in the store now, then returns. A batch job is bounded, resumable, and runs in one
    /// process at a time.
    ///
    /// Open requests are carried out before it returns: replays and discards of parked messages, and rebuilds of the
    /// program's projections. A rebuild that another program is running is left to that program.
    ///
    /// # Errors
    /// - [`ProcessorError::Busy`](crate::error::ProcessorError::Busy) when another process runs one of the processors.
    /// - The errors of [`start`](ConsumerBuilder::start).
    /// - [`ProcessorError::JobFailed`](crate::error::ProcessorError::JobFailed) when a processor fails, or the database
    ///   fails permanently. The error contains the report.
    pub fn run_until_caught_up(self) -> Result<RunReport> {
        self.run(RunUntil::CaughtUp)
    }

    /// Handles everything up to and including a global position, then returns. Later messages are not handled.
    ///
    /// # Errors
    /// The errors of [`run_until_caught_up`](ConsumerBuilder::run_until_caught_up).
    pub fn run_to(self, position: u64) -> Result<RunReport> {
        self.run(RunUntil::Position(position))
    }

    /// Runs for a time, then returns. Running batches are finished first.
    ///
    /// # Errors
    /// The errors of [`run_until_caught_up`](ConsumerBuilder::run_until_caught_up).
    pub fn run_for(self, time: Duration) -> Result<RunReport> {
        self.run(RunUntil::Elapsed(time))
    }

    /// Runs until the given end, then returns.
    ///
    /// # Errors
    /// The errors of [`run_until_caught_up`](ConsumerBuilder::run_until_caught_up). With [`RunUntil::Stopped`], a
    /// processor that another process runs is no error: it is on standby here.
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
            RunUntil::CaughtUp => {
                self.fire_timers()?;
                Some(store.feed_horizon(0)?.head)
            }
            RunUntil::Position(position) => Some(position),
            RunUntil::Elapsed(_) | RunUntil::Stopped => None,
        };
        let mut consumer = self;
        consumer.settings.is_job = until != RunUntil::Stopped;
        let (shared, slots) = consumer.prepare(target)?;
        super::job::run(&shared, &slots, until, target, on_progress)
    }

    /// Fires the timers that are due, so that a job handles their inputs.
    fn fire_timers(&self) -> Result<()> {
        let is_workflow = |processor: &&Processor| processor.workflow().is_some();
        for processor in self.processors.iter().filter(is_workflow) {
            self.store.register_projections()?;
            fire_all(&self.store, processor, self.settings.lease)?;
        }
        Ok(())
    }

    /// Checks the processors and registers them.
    fn prepare(mut self, until: Option<u64>) -> Result<(Arc<Shared>, Vec<u32>)> {
        self.settings.until = until;
        let (store, plan) = self.into_plan()?;
        plan.prepare_in(store, Found::AtStart)
    }

    /// Returns the checked plan. Nothing is registered yet.
    pub(super) fn into_plan(self) -> Result<(EventStore, Plan)> {
        if let Some(error) = self.invalid {
            return Err(error);
        }
        let plan = Plan::new(self.processors, self.settings, self.stop, self.name)?;
        Ok((self.store, plan))
    }
}

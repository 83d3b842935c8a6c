//! Rebuilds: a new read model is built beside the live one and replaces it in one transaction.
//!
//! [`EventStore::rebuild`](crate::EventStore::rebuild) creates a rebuild.

mod activation;
mod arming;
mod catch_up;
mod claim;
mod failure;
mod job;
mod progress;
mod request;
mod shadow;
mod switch;
mod workers;

pub(crate) use activation::Activation;
pub use activation::OnHistory;
pub use progress::{RebuildProgress, RebuildReport};
pub(crate) use request::RebuildRequest;
pub use request::RequestedRebuild;

use crate::database::{Connections, PooledTransaction};
use crate::error::{Error, Result, counted};
use crate::events::BatchLimits;
use crate::pongo::old_collections;
use crate::projection::{
    Projection, ProjectionContext, ProjectionType, RegisteredProjection, check_handled, registry,
};
use crate::slots;
use crate::store::EventStore;
use claim::Claim;
use failure::failed;
use job::Job;
use progress::Progress;
use shadow::Shadow;
use std::sync::Arc;
use std::time::Duration;

/// Default time limit of the switch. Its attempts delay appends for a moment.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(600);

impl EventStore {
    /// Creates a rebuild of an inline projection's read model from all stored events. Appends continue meanwhile. The
    /// live read model stays readable and unchanged until the new one replaces it in one transaction.
    ///
    /// The rebuild uses this program's version of the projection, which becomes the active one. From then on, programs
    /// with this version add the events that programs with another version append.
    ///
    /// An interrupted rebuild leaves the live read model unchanged. Run it again; it starts from the beginning.
    ///
    /// ```
    /// # use emmett_postgresql::{DocumentProjection, EventStore, RawEvent, Recorded};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = emmett_postgresql::testing::database()?;
    /// # let url = database.url();
    /// let store = EventStore::builder(url)
    ///     .inline_projection(DocumentProjection::single_stream(
    ///         "event_counts",
    ///         |count: Option<serde_json::Value>, _: &Recorded<RawEvent>| {
    ///             let events = count.and_then(|count| count["events"].as_u64()).unwrap_or(0) + 1;
    ///             Some(serde_json::json!({ "events": events }))
    ///         },
    ///     ))
    ///     .open()?;
    /// store.append_to_stream("Cart-1", &[RawEvent::new("Opened", serde_json::json!({}))])?;
    ///
    /// let report = store
    ///     .rebuild("event_counts")
    ///     .workers(2)
    ///     .on_progress(|progress| println!("{} events, {:?} left", progress.handled, progress.left))
    ///     .run()?;
    /// assert_eq!(report.handled, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn rebuild(&self, projection: &str) -> Rebuild<'_> {
        Rebuild::new(self, Target::Inline(projection.to_owned()))
    }

    /// Creates a rebuild of an asynchronous projection's read model. It works like [`rebuild`](EventStore::rebuild).
    /// The projection's workers, in any process, resume after the last position that the rebuild has handled. The
    /// rebuild also handles the messages that they had parked.
    ///
    /// ```no_run
    /// # use emmett_postgresql::{DocumentProjection, EventStore, RawEvent, Recorded};
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = EventStore::open("postgresql://localhost/shop")?;
    /// fn event_counts() -> DocumentProjection<serde_json::Value> {
    ///     DocumentProjection::single_stream("event_counts", |count, _: &Recorded<RawEvent>| {
    ///         let count: Option<serde_json::Value> = count;
    ///         let events = count.and_then(|count| count["events"].as_u64()).unwrap_or(0) + 1;
    ///         Some(serde_json::json!({ "events": events }))
    ///     })
    /// }
    /// store.rebuild_with(event_counts()).run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn rebuild_with(&self, projection: impl Projection) -> Rebuild<'_> {
        Rebuild::new(self, Target::Asynchronous(Arc::new(projection)))
    }

    /// Lists the collections that rebuilds have [kept](Rebuild::keep_old), of all tenants.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// for model in store.old_models()? {
    ///     println!("{} is an old model of {}", model.collection, model.old_of);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the query fails.
    pub fn old_models(&self) -> Result<Vec<OldModel>> {
        let schema = self.partition().schema();
        let old = self
            .connections()
            .run(true, |sql| old_collections(sql, schema))?;
        let model = |(collection, old_of)| OldModel { collection, old_of };
        Ok(old.into_iter().map(model).collect())
    }

    /// Deletes the old read models that rebuilds of a collection have [kept](Rebuild::keep_old). Returns false if there
    /// are none.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// store.rebuild("cart_summaries").keep_old().run()?;
    /// let old = store.collection::<serde_json::Value>("cart_summaries_v1");
    /// println!("there were {}", old.count_documents(serde_json::json!({}))?);
    /// store.drop_old_model("cart_summaries")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the database refuses the deletion.
    pub fn drop_old_model(&self, collection: &str) -> Result<bool> {
        self.connections().run(true, |sql| {
            shadow::drop_old(sql, self.partition(), collection)
        })
    }
}

/// A collection with the documents from before a rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldModel {
    /// Name of the collection.
    pub collection: String,
    /// The collection that has replaced it. [`EventStore::drop_old_model`] takes this name.
    pub old_of: String,
}

enum Target {
    Inline(String),
    Asynchronous(Arc<dyn Projection>),
}

/// A rebuild that is being configured. [`run`](Rebuild::run) starts it.
#[must_use = "nothing is rebuilt until run is called"]
pub struct Rebuild<'s> {
    store: &'s EventStore,
    target: Target,
    workers: u32,
    limits: BatchLimits,
    keep_old: bool,
    switch_timeout: Duration,
    on_progress: Box<dyn FnMut(RebuildProgress) + 's>,
}

impl std::fmt::Debug for Rebuild<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Rebuild")
            .field("workers", &self.workers)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl<'s> Rebuild<'s> {
    fn new(store: &'s EventStore, target: Target) -> Self {
        Self {
            store,
            target,
            workers: 1,
            limits: BatchLimits::default(),
            keep_old: false,
            switch_timeout: SWITCH_TIMEOUT,
            on_progress: Box::new(|_| ()),
        }
    }

    /// Number of worker threads, at least 1. Each handles the messages of some streams, or of some documents, in order.
    /// Use one worker for an SQL projection whose result depends on the order of different streams. Defaults to 1.
    pub fn workers(mut self, threads: u32) -> Self {
        self.workers = threads;
        self
    }

    /// Maximum number of messages in one transaction, at least 1. Defaults to 1,000.
    pub fn batch_size(mut self, messages: usize) -> Self {
        self.limits.messages = messages;
        self
    }

    /// Maximum number of bytes of the messages in one transaction: their JSON, and 256 bytes for each message. A single
    /// larger message passes.
    ///
    /// Each of several workers keeps up to three such batches in memory. Batches of one page share their messages. At
    /// least 1: the rebuild fails with [`Error::InvalidInput`] for 0. Defaults to 16 MiB.
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Keeps the replaced documents in a collection of their own: `cart_summaries_v1` for version 1 of
    /// `cart_summaries`. The collection is not updated any more. Drop it with [`EventStore::drop_old_model`].
    ///
    /// Available for document projections only. The next version of an SQL projection can use tables of other names.
    /// Defaults to keeping nothing.
    pub fn keep_old(mut self) -> Self {
        self.keep_old = true;
        self
    }

    /// Maximum time that the switch waits while open appends block it. Defaults to 10 minutes.
    pub fn switch_timeout(mut self, timeout: Duration) -> Self {
        self.switch_timeout = timeout;
        self
    }

    /// Calls a function after every batch, on the thread that runs the rebuild. Defaults to none.
    pub fn on_progress(mut self, report: impl FnMut(RebuildProgress) + 's) -> Self {
        self.on_progress = Box::new(report);
        self
    }

    /// Runs the rebuild. It uses one connection per worker, and two more.
    ///
    /// The live read model is unchanged after an error.
    ///
    /// # Errors
    /// - [`ProjectionError::Failed`](crate::error::ProjectionError::Failed) when the projection fails. The error
    ///   names the message.
    /// - [`Error::InvalidInput`] when the store has no such projection, or when the projection declares no tables.
    /// - [`ProjectionError::RebuildRunning`](crate::error::ProjectionError::RebuildRunning) when another program
    ///   rebuilds the projection.
    /// - [`ProjectionError::RebuildBlocked`](crate::error::ProjectionError::RebuildBlocked) when open appends blocked
    ///   the switch until the time limit.
    /// - [`ProcessorError::Ahead`](crate::error::ProcessorError::Ahead) when the projection's processor is ahead of the
    ///   sequence.
    pub fn run(self) -> Result<RebuildReport> {
        self.check_sizes()?;
        let (projection, projection_type) = self.projection()?;
        check_handled(projection.as_ref())?;
        let name = projection.name();
        if projection.tables().is_empty() {
            return Err(Error::invalid(
                format!("projection \"{name}\""),
                "cannot be rebuilt, because it declares no tables: list them in SqlProjection::tables",
            ));
        }
        self.check_pool()?;
        self.store.verify()?;
        if projection_type == ProjectionType::Asynchronous {
            self.store.connections().run(true, |sql| {
                let partition = self.store.partition();
                let processor = slots::processor_of(sql, partition, name)?;
                let processor = processor.as_deref().unwrap_or(name);
                slots::progress::refuse_ahead(sql, partition, processor, None)
            })?;
        }
        self.register(projection.as_ref(), projection_type)?;
        let claim = Claim::take(self.store, name)?;
        claim.keep_while(|| {
            let version = registry::version(projection.as_ref())?;
            let shadow = Shadow::begin(self.store, projection.as_ref(), version)?;
            let job = Job {
                store: self.store,
                projection: Arc::clone(&projection),
                projection_type,
                version,
                shadow,
                workers: self.workers,
                limits: self.limits,
                keep_old: self.keep_old,
                switch_timeout: self.switch_timeout,
            };
            let outcome = job.run(&claim, Progress::new(self.on_progress));
            if outcome.is_err() {
                job.clean_up();
            }
            outcome
        })
    }

    fn projection(&self) -> Result<(Arc<dyn Projection>, ProjectionType)> {
        let inline = self.store.projections();
        match &self.target {
            Target::Inline(name) => match inline.find(name) {
                Some(projection) => Ok((projection, ProjectionType::Inline)),
                None => Err(Error::invalid(
                    format!("projection \"{name}\""),
                    "is not an inline projection of this store: give it to the builder, or rebuild an asynchronous \
                     projection with rebuild_with",
                )),
            },
            Target::Asynchronous(projection) => {
                crate::database::check_key("the projection name", projection.name())?;
                let is_inline = |registered: &RegisteredProjection| {
                    registered.name == projection.name()
                        && registered.projection_type == ProjectionType::Inline
                };
                if self.store.registered_projections()?.iter().any(is_inline) {
                    return Err(Error::invalid(
                        format!("projection \"{}\"", projection.name()),
                        "is an inline projection of this store: rebuild it by its name",
                    ));
                }
                Ok((Arc::clone(projection), ProjectionType::Asynchronous))
            }
        }
    }

    fn check_sizes(&self) -> Result<()> {
        if self.workers == 0 {
            return Err(Error::invalid(
                "the rebuild",
                "must have at least one worker",
            ));
        }
        self.limits.check().map(drop)
    }

    /// Fails early: with too small a pool, a worker would wait for a connection until the timeout.
    fn check_pool(&self) -> Result<()> {
        let Connections::Own { pool, .. } = self.store.connections() else {
            return Ok(());
        };
        let needed = if self.workers == 1 {
            2
        } else {
            self.workers.saturating_add(2)
        };
        if pool.max_size() >= needed {
            return Ok(());
        }
        Err(Error::invalid(
            "the pool size",
            format!(
                "must be at least {needed} for a rebuild with {}",
                counted(self.workers, "worker")
            ),
        ))
    }

    fn register(&self, projection: &dyn Projection, kind: ProjectionType) -> Result<()> {
        if kind == ProjectionType::Inline {
            return self.store.register_projections_anew();
        }
        let partition = self.store.partition();
        let mut transaction = PooledTransaction::begin(self.store.connections())?;
        if self.store.may_migrate() {
            projection
                .init(&mut ProjectionContext::new(transaction.sql(), partition))
                .map_err(|source| failed(projection, source))?;
        }
        let version = registry::version(projection)?;
        registry::register(transaction.sql(), partition, projection, version, kind)?;
        Ok(transaction.commit()?)
    }
}

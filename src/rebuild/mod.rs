//! Rebuilds: a new read model is built beside the live one, and takes its place in one transaction.
//!
//! [`EventStore::rebuild`](crate::EventStore::rebuild) begins one.

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

/// How long the switch is tried. Until then it costs appends a moment now and then, and nothing else.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(600);

impl EventStore {
    /// Begins to rebuild the read model of an inline projection: from all stored events, beside the live read model, while
    /// appends go on. The live one stays as it is, and readable, until the new one takes its place in one transaction.
    ///
    /// The new read model is that of this program's version of the projection, which becomes the active one. What programs
    /// with another version append from then on, programs with this version add.
    ///
    /// A rebuild that was interrupted leaves the live read model as it was. It is run again from the beginning.
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

    /// Begins to rebuild the read model of an asynchronous projection, in the same way. Its workers, in whatever process, go
    /// on behind what the rebuild has handled; what they had parked is handled by it.
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

    /// The collections that rebuilds have [kept](Rebuild::keep_old), of all tenants.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// for model in store.old_models()? {
    ///     println!("{} is what {} was", model.collection, model.old_of);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn old_models(&self) -> Result<Vec<OldModel>> {
        let schema = self.partition().schema();
        let old = self
            .connections()
            .run(true, |sql| old_collections(sql, schema))?;
        let model = |(collection, old_of)| OldModel { collection, old_of };
        Ok(old.into_iter().map(model).collect())
    }

    /// Deletes what rebuilds of this collection have [kept](Rebuild::keep_old); false when there is nothing.
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
    /// When the database refuses it.
    pub fn drop_old_model(&self, collection: &str) -> Result<bool> {
        self.connections().run(true, |sql| {
            shadow::drop_old(sql, self.partition(), collection)
        })
    }
}

/// A collection that keeps the documents of before a rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldModel {
    /// Its name.
    pub collection: String,
    /// The collection that has taken its place: what [`EventStore::drop_old_model`] takes.
    pub old_of: String,
}

enum Target {
    Inline(String),
    Asynchronous(Arc<dyn Projection>),
}

/// A rebuild that is being set up.
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

    /// How many threads do the work. Each handles the messages of some streams, or of some documents, in their order; so a
    /// projection by SQL whose result depends on the order of different streams needs one. At least 1; defaults to
    /// 1.
    pub fn workers(mut self, threads: u32) -> Self {
        self.workers = threads;
        self
    }

    /// How many messages are handled in one transaction. At least 1; defaults to 1,000.
    pub fn batch_size(mut self, messages: usize) -> Self {
        self.limits.messages = messages;
        self
    }

    /// Maximum number of bytes of the messages that are handled in one transaction: their JSON, and 256 bytes for each. A single
    /// larger message passes. Of several workers, each has up to three such batches in memory, and shares those that others
    /// have, too. At least 1: the rebuild fails with [`Error::InvalidInput`] for 0. Defaults to 16 MiB.
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Keeps the documents that are replaced in a collection of their own: `cart_summaries_v1` for version 1 of
    /// `cart_summaries`. Nobody keeps it up to date. [`EventStore::drop_old_model`] drops it. For projections into documents
    /// only; the next version of one by SQL can have tables of other names.
    pub fn keep_old(mut self) -> Self {
        self.keep_old = true;
        self
    }

    /// How long the new read model waits for a moment to take its place, if open appends leave none. Defaults to 10 minutes.
    pub fn switch_timeout(mut self, timeout: Duration) -> Self {
        self.switch_timeout = timeout;
        self
    }

    /// Is called after every batch, by the thread that runs the rebuild.
    pub fn on_progress(mut self, report: impl FnMut(RebuildProgress) + 's) -> Self {
        self.on_progress = Box::new(report);
        self
    }

    /// Rebuilds. Takes as many connections as there are workers, and two more.
    ///
    /// # Errors
    /// [`ProjectionError::Failed`](crate::error::ProjectionError::Failed) when the projection fails; it names the message.
    /// [`Error::InvalidInput`] when the store has no such projection, or it cannot be rebuilt because it does not declare its
    /// tables. [`ProjectionError::RebuildRunning`](crate::error::ProjectionError::RebuildRunning) when another program is at it.
    /// [`ProjectionError::RebuildBlocked`](crate::error::ProjectionError::RebuildBlocked) when open appends left no moment for the
    /// switch. [`ProcessorError::Ahead`](crate::error::ProcessorError::Ahead) when the projection's processor is ahead of the
    /// sequence. The live read model is unchanged then.
    pub fn run(self) -> Result<RebuildReport> {
        self.check_sizes()?;
        let (projection, projection_type) = self.projection()?;
        check_handled(projection.as_ref())?;
        let name = projection.name();
        if projection.tables().is_empty() {
            return Err(Error::invalid(
                format!("projection \"{name}\""),
                "cannot be rebuilt, because it does not say which tables it writes: see SqlProjection::tables",
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
                    "is not an inline projection of this store: give it to the builder, or an asynchronous one to \
                     rebuild_with",
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
            return Err(Error::invalid("a rebuild", "must have at least one worker"));
        }
        self.limits.check().map(drop)
    }

    /// Without a word, a pool that is too small would wait for its timeout.
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

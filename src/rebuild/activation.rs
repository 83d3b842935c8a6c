//! Activation of the registered inline projections when a store is opened.

use super::switch::{Blocked, WAIT_FOR_APPENDS};
use super::{Rebuild, RebuildProgress, SWITCH_TIMEOUT, Target};
use crate::database::{BackOff, PooledTransaction, Sql, pause};
use crate::error::{Error, ProjectionError, Result};
use crate::events::FeedFilter;
use crate::events::feed::{self, Part};
use crate::projection::{Projection, missed, registry};
use crate::store::EventStore;
use crate::trace;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How to build inline projections when a store is opened and events of their types are already stored.
///
/// It applies to new projections, to projections whose version was raised, and to stale ones. Until a projection is
/// active, appends do not run it, and its read model is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnHistory {
    /// Builds the projection while appends continue, and returns when it is active. Uses two connections.
    #[default]
    Build,
    /// Builds the projection in a background thread, and returns at once.
    BuildInBackground,
    /// Fails with an error that names the command to run.
    Refuse,
    /// Leaves the projection unchanged.
    Leave,
}

pub(crate) type BuildReport = dyn Fn(&str, RebuildProgress) + Send + Sync;

/// Activates the inline projections of a store.
#[derive(Clone)]
pub(crate) struct Activation {
    pub(crate) on_history: OnHistory,
    pub(crate) report: Arc<BuildReport>,
}

/// Number of positions in one step of the search for stored events.
const STEP: u64 = 50_000;
/// Shortest pause while another program builds the projection.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Activation {
    /// Activates the store's inactive projections, except those with a higher registered version.
    pub(crate) fn activate(&self, store: &EventStore) -> Result<()> {
        let mut left = Vec::new();
        for (projection, version) in store.projections().iter() {
            let empty = Empty {
                store,
                projection: projection.as_ref(),
                version,
            };
            if empty.has_to_be_built()? && !empty.activate()? {
                left.push(Arc::clone(projection));
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        match self.on_history {
            OnHistory::Build => self.build(store, &left),
            OnHistory::BuildInBackground => self.build_in_background(store, left),
            OnHistory::Refuse => Err(refused(left[0].name())),
            OnHistory::Leave => Ok(()),
        }
    }

    fn build(&self, store: &EventStore, projections: &[Arc<dyn Projection>]) -> Result<()> {
        projections
            .iter()
            .try_for_each(|projection| self.build_one(store, projection))
    }

    fn build_in_background(
        &self,
        store: &EventStore,
        projections: Vec<Arc<dyn Projection>>,
    ) -> Result<()> {
        let (activation, store) = (self.clone(), store.clone());
        std::thread::Builder::new()
            .name("emt:build".into())
            .spawn(move || {
                if let Err(error) = activation.build(&store, &projections) {
                    trace::failed("build", &error);
                }
            })
            .map(drop)
            .map_err(|source| Error::Thread { source })
    }

    /// Builds a projection, or waits until another program has built it.
    fn build_one(&self, store: &EventStore, projection: &Arc<dyn Projection>) -> Result<()> {
        let name = projection.name();
        let empty = Empty {
            store,
            projection: projection.as_ref(),
            version: registry::version(projection.as_ref())?,
        };
        let mut pauses = BackOff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        while empty.has_to_be_built()? {
            let built = Rebuild::new(store, Target::Inline(name.to_owned()))
                .on_progress(|progress| {
                    trace::building(name, progress.position, progress.head);
                    (self.report)(name, progress);
                })
                .run();
            match built {
                Ok(_) => return Ok(()),
                Err(Error::Projection(ProjectionError::RebuildRunning { .. })) => {
                    pause(pauses.next());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn refused(name: &str) -> Error {
    Error::invalid(
        format!("projection \"{name}\""),
        "has to be built from the stored events: run `projections rebuild` with a program that has the projection \
         (emmett_postgresql::cli::run), or open the store with OnHistory::Build",
    )
}

/// A projection that may have no stored events.
struct Empty<'s> {
    store: &'s EventStore,
    projection: &'s dyn Projection,
    version: i32,
}

impl Empty<'_> {
    fn status(&self) -> Result<Option<String>> {
        let partition = self.store.partition();
        self.store.connections().run(true, |sql| {
            registry::status(sql, partition, self.projection.name(), self.version)
        })
    }

    fn has_to_be_built(&self) -> Result<bool> {
        let status = self.status()?;
        Ok(!matches!(status.as_deref(), Some("active" | "inactive")))
    }

    /// Activates the projection if no event of its types is stored and no other version has a read model. Returns
    /// false otherwise.
    fn activate(&self) -> Result<bool> {
        let (partition, connections) = (self.store.partition(), self.store.connections());
        let name = self.projection.name();
        if connections.run(true, |sql| registry::live_version(sql, partition, name))? != 0 {
            return Ok(false);
        }
        let mut searched = 0;
        if self.search(&mut searched)? {
            return Ok(false);
        }
        let Some(status) = self.status()? else {
            return Ok(false);
        };
        if status != "arming" {
            connections.run(true, |sql| {
                registry::change_status(sql, partition, name, self.version, &status, "arming")
            })?;
        }
        // Appends that started before this commit have drawn their positions, so the switch waits for them.
        let noted_after = connections.run(true, |sql| feed::head(sql, partition))?;
        let deadline = Instant::now() + SWITCH_TIMEOUT;
        let mut pauses = BackOff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        loop {
            if self.search(&mut searched)? {
                return Ok(false);
            }
            let reason = match self.try_switch(searched, noted_after) {
                Ok(Ok(is_active)) => return Ok(is_active),
                Ok(Err(Blocked(reason))) => reason,
                Err(error) if error.is_retryable() => error.to_string(),
                Err(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                return Err(Error::Projection(ProjectionError::RebuildBlocked {
                    projection: name.to_owned(),
                    reason,
                }));
            }
            pause(pauses.next());
        }
    }

    /// Returns whether the feed has an event of the projection's types up to the horizon. Searches in steps, without a
    /// lock.
    fn search(&self, searched: &mut u64) -> Result<bool> {
        let (partition, connections) = (self.store.partition(), self.store.connections());
        let horizon = connections.run(true, |sql| feed::horizon(sql, partition, 0))?;
        while *searched < horizon.position {
            let up_to = horizon.position.min(*searched + STEP);
            if connections.run(true, |sql| self.has_events(sql, *searched, up_to))? {
                return Ok(true);
            }
            *searched = up_to;
        }
        Ok(false)
    }

    fn has_events(&self, sql: &mut dyn Sql, after: u64, up_to: u64) -> Result<bool> {
        let (partition, handled) = (self.store.partition(), self.projection.handles());
        // Search for each enum separately: the union of types and categories would match foreign events.
        for events in handled.selections() {
            let part = Part {
                after,
                up_to,
                filter: &FeedFilter::of(std::iter::once(&events.selection)),
            };
            if !feed::names(sql, partition, part, Some(1))?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn try_switch(&self, searched: u64, noted_after: u64) -> Result<Result<bool, Blocked>> {
        let (partition, name) = (self.store.partition(), self.projection.name());
        let mut transaction = PooledTransaction::begin(self.store.connections())?;
        let sql = transaction.sql();
        super::switch::set(sql, WAIT_FOR_APPENDS)?;
        registry::lock(sql, partition)?;
        match registry::status(sql, partition, name, self.version)?.as_deref() {
            Some("arming") => {}
            status => return Ok(Ok(status == Some("active"))),
        }
        let horizon = feed::horizon(sql, partition, searched)?.position;
        if horizon < noted_after {
            return Ok(Err(Blocked(
                "an open transaction with an append holds the feed back".to_owned(),
            )));
        }
        if horizon > searched && self.has_events(sql, searched, horizon)? {
            return Ok(Ok(false));
        }
        registry::activate(sql, partition, name, self.version)?;
        missed::delete_other_versions(sql, partition, (name, self.version))?;
        missed::delete(sql, partition, (name, self.version), horizon)?;
        transaction.commit()?;
        Ok(Ok(true))
    }
}

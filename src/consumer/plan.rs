//! The processors of a consumer, and their registration in a partition.

use super::mailbox::Mailbox;
use super::new_types;
use super::on_new_types::OnNewTypes;
use super::owner::owner;
use super::processor::{Processor, StartFrom};
use super::shared::{Settings, Shared};
use super::stop::StopHandle;
use crate::database::PooledTransaction;
use crate::database::position::small_to_sql;
use crate::error::{Error, Result, counted};
use crate::events::feed;
use crate::projection::{ProjectionContext, ProjectionType, registry};
use crate::slots::progress;
use crate::store::EventStore;
use crossbeam_channel::bounded;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// A busy machine could not renew a shorter lease in time.
const SHORTEST_LEASE: Duration = Duration::from_millis(200);

/// The server's timeouts are at most 24 days.
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 86_400);

const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The time at which the consumer has found a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    AtStart,
    /// The partition was added while the consumer ran, so all its messages are new.
    Later,
}

/// The processors and settings of a consumer, for one partition or for many.
pub(super) struct Plan {
    pub(super) processors: Vec<Arc<Processor>>,
    pub(super) settings: Settings,
    pub(super) stop: StopHandle,
    name: Option<String>,
    /// Unique name of the consumer among all processes.
    pub(super) owner: String,
}

impl Plan {
    pub(super) fn new(
        processors: Vec<Processor>,
        settings: Settings,
        stop: StopHandle,
        name: Option<String>,
    ) -> Result<Self> {
        let plan = Self {
            processors: processors.into_iter().map(Arc::new).collect(),
            settings,
            stop,
            owner: owner(name.as_deref())?,
            name,
        };
        plan.check()?;
        Ok(plan)
    }

    /// Returns the same plan as another process would follow it.
    pub(super) fn of_another_process(&self) -> Result<Self> {
        Ok(Self {
            processors: self.processors.clone(),
            settings: self.settings.clone(),
            stop: StopHandle::new(),
            owner: owner(self.name.as_deref())?,
            name: self.name.clone(),
        })
    }

    fn check(&self) -> Result<()> {
        if self.processors.is_empty() {
            return Err(Error::invalid(
                "the consumer",
                "has no processors: add a projector or a reactor",
            ));
        }
        self.settings.limits.check()?;
        if self.settings.longest_idle < SHORTEST_POLL_INTERVAL {
            let reason = format!("must be at least {SHORTEST_POLL_INTERVAL:?}");
            return Err(Error::invalid("the poll interval", reason));
        }
        if self.settings.lease > LONGEST_LEASE {
            let reason = format!("must be at most {LONGEST_LEASE:?}");
            return Err(Error::invalid("the lease", reason));
        }
        if self.settings.lease < SHORTEST_LEASE {
            let reason = format!("must be at least {SHORTEST_LEASE:?}");
            return Err(Error::invalid("the lease", reason));
        }
        for (index, processor) in self.processors.iter().enumerate() {
            processor.check()?;
            let is_same = |other: &Arc<Processor>| other.name == processor.name;
            if self.processors[..index].iter().any(is_same) {
                let what = format!("processor \"{}\"", processor.name);
                return Err(Error::invalid(
                    what,
                    "is given twice: remove one of them, or rename it",
                ));
            }
            let Some(projection) = processor.projection() else {
                continue;
            };
            let keeps = |other: &Arc<Processor>| {
                let kept = other.projection();
                kept.is_some_and(|kept| kept.name() == projection.name())
            };
            if self.processors[..index].iter().any(keeps) {
                let what = format!("projection \"{}\"", projection.name());
                return Err(Error::invalid(
                    what,
                    "is given to two processors: remove one of them",
                ));
            }
        }
        Ok(())
    }

    /// Registers the processors in a store's partition. Returns the state that the threads share, and for each worker
    /// the number of its processor's slots.
    pub(super) fn prepare_in(
        &self,
        store: EventStore,
        found: Found,
    ) -> Result<(Arc<Shared>, Vec<u32>)> {
        store.verify()?;
        store.register_projections()?;
        let mut mailboxes = Vec::new();
        let mut slots = Vec::new();
        let shared = Shared {
            store,
            settings: self.settings.clone(),
            owner: self.owner_in(found)?,
            mailboxes: Vec::new(),
            stop: self.stop.clone(),
            poller: bounded(1),
            rebuilds: Mutex::default(),
        };
        for processor in &self.processors {
            let count = register(&shared, processor, found)?;
            for worker in 0..small_to_sql("the number of workers", processor.workers())? {
                mailboxes.push(Arc::new(Mailbox::new(Arc::clone(processor), worker)));
                slots.push(count);
            }
        }
        let shared = Shared {
            mailboxes,
            ..shared
        };
        Ok((Arc::new(shared), slots))
    }

    /// Returns the owner's name. A tenant that is removed and added again gets a new one, which its old workers do
    /// not have.
    fn owner_in(&self, found: Found) -> Result<String> {
        match found {
            Found::AtStart => Ok(self.owner.clone()),
            Found::Later => owner(self.name.as_deref()),
        }
    }
}

/// Creates a processor's read model and slots. Returns the number of slots.
fn register(shared: &Shared, processor: &Processor, found: Found) -> Result<u32> {
    let store = &shared.store;
    if let Some(projection) = processor.projection() {
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
        StartFrom::End if found == Found::Later => 0,
        StartFrom::Position(position) => position,
        StartFrom::End => {
            shared
                .run(|sql| feed::horizon(sql, store.partition(), 0))?
                .position
        }
    };
    let slots = register_slots(shared, processor, start)?;
    let asked = processor.options.slots;
    if asked.is_some_and(|asked| asked != slots) {
        return Err(Error::invalid(
            format!("processor \"{}\"", processor.name),
            format!(
                "has {} in the database and {} here: the number cannot be changed, so set the stored one",
                counted(slots, "slot"),
                processor.new_slots()
            ),
        ));
    }
    if processor.options.on_new_types == OnNewTypes::Refuse {
        new_types::refuse(shared, processor)?;
    }
    Ok(slots)
}

/// Uses one transaction, so that a processor which would begin ahead of the sequence leaves no slots.
fn register_slots(shared: &Shared, processor: &Processor, start: u64) -> Result<u32> {
    let key = shared.key(processor);
    let kept = processor.projection();
    let kept = kept.map(|projection| (projection.name(), projection.tables()));
    let mut transaction = PooledTransaction::begin(shared.store.connections())?;
    let sql = transaction.sql();
    let slots = key.register(sql, processor.new_slots(), start, kept, &processor.handled)?;
    progress::refuse_ahead(sql, key.partition, key.name, Some(key.version))?;
    transaction.commit()?;
    Ok(slots)
}

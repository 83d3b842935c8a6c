//! Projections: read models. The inline ones are written in the transaction of the append.

mod context;
mod document;
pub(crate) mod registry;
mod sql;

pub use context::ProjectionContext;
pub(crate) use context::ShadowTables;
pub use document::DocumentProjection;
pub use registry::{ProjectionStatus, ProjectionType, RegisteredProjection};
pub use sql::SqlProjection;

use crate::database::Sql;
use crate::error::{Error, Result};
use crate::events::message::RecordedMessage;
use crate::events::partition::Partition;
use crate::events::stream::InlineVersions;
use std::fmt;
use std::sync::Arc;

/// Keeps a read model.
///
/// [`DocumentProjection`] and [`SqlProjection`] are the ready-made ones.
pub trait Projection: Send + Sync + 'static {
    /// The name, unique among the projections of a store.
    fn name(&self) -> &str;

    /// The version of the code. Raise it when the read model that the code writes changes: then no program of another
    /// version can write into it.
    fn version(&self) -> u32;

    /// What kind of projection this is, for the registry.
    fn kind(&self) -> &'static str;

    /// The message types that it handles; `None` for all.
    fn handles(&self) -> Option<&[String]>;

    /// The tables and collections that it writes, all in the PostgreSQL schema of the store, those that others refer to first.
    /// Without any it cannot be [rebuilt](crate::EventStore::rebuild); with some, it takes their names from
    /// [`ProjectionContext::table`] and [`ProjectionContext::collection`].
    fn tables(&self) -> &[String] {
        &[]
    }

    /// What a message's work is shared out by among several workers: each key is one worker's, and the message comes to the
    /// workers of all its keys. `None`, which is the default, means the stream's name. A projection with other keys leaves
    /// alone what it does not [own](ProjectionContext::owns).
    ///
    /// # Errors
    /// When the message cannot be read.
    fn keys(&self, message: &RecordedMessage) -> anyhow::Result<Option<Vec<String>>> {
        let _ = message;
        Ok(None)
    }

    /// Creates the storage of the read model. Runs when a store that may migrate is opened.
    ///
    /// # Errors
    /// Whatever fails; the store is not opened then.
    fn init(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()>;

    /// Empties the read model of the context's partition: what it writes, live or in a rebuild, as the context says.
    ///
    /// # Errors
    /// Whatever fails; nothing is emptied then.
    fn truncate(&self, context: &mut ProjectionContext<'_>) -> anyhow::Result<()>;

    /// Handles messages of the types that it [`handles`](Projection::handles), in their order.
    ///
    /// # Errors
    /// Whatever fails; the append is rolled back then, and its caller gets the error.
    fn handle(
        &self,
        messages: &[&RecordedMessage],
        context: &mut ProjectionContext<'_>,
    ) -> anyhow::Result<()>;
}

/// The inline projections of a store.
#[derive(Clone, Default)]
pub(crate) struct InlineProjections {
    projections: Arc<[Arc<dyn Projection>]>,
    versions: Arc<InlineVersions>,
}

impl fmt::Debug for InlineProjections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(&self.versions.names)
            .finish()
    }
}

impl InlineProjections {
    pub(crate) fn new(projections: Vec<Arc<dyn Projection>>) -> Result<Self> {
        let (mut names, mut versions) = (Vec::new(), Vec::new());
        for projection in &projections {
            let name = projection.name().to_owned();
            crate::database::scope::check_key("the projection name", &name)?;
            if names.contains(&name) {
                return Err(Error::invalid(
                    format!("projection \"{name}\""),
                    "is given twice",
                ));
            }
            names.push(name);
            versions.push(registry::version(projection.as_ref()));
        }
        Ok(Self {
            projections: projections.into(),
            versions: Arc::new(InlineVersions::new(names, versions)),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.projections.is_empty()
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.versions.names
    }

    /// What an append has to name; `None` without projections.
    pub(crate) fn versions(&self) -> Option<&InlineVersions> {
        (!self.is_empty()).then_some(&*self.versions)
    }

    /// Creates the storage of all projections.
    pub(crate) fn init(&self, sql: &mut dyn Sql, partition: &Partition) -> Result<()> {
        self.each(sql, partition, |projection, context| {
            projection.init(context)
        })
    }

    /// Writes all projections into the registry of a partition.
    pub(crate) fn register(&self, sql: &mut dyn Sql, partition: &Partition) -> Result<()> {
        for (projection, version) in self.projections.iter().zip(&self.versions.versions) {
            registry::register(
                sql,
                partition,
                projection.as_ref(),
                *version,
                ProjectionType::Inline,
            )?;
        }
        Ok(())
    }

    /// Hands messages that were just stored to the projections that handle them.
    pub(crate) fn handle(
        &self,
        sql: &mut dyn Sql,
        partition: &Partition,
        messages: &[RecordedMessage],
    ) -> Result<()> {
        self.each(sql, partition, |projection, context| {
            let handled: Vec<&RecordedMessage> = messages
                .iter()
                .filter(|message| handles(projection, message))
                .collect();
            if handled.is_empty() {
                Ok(())
            } else {
                projection.handle(&handled, context)
            }
        })
    }

    /// The projection of this name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<dyn Projection>> {
        let index = self.versions.names.iter().position(|known| known == name)?;
        self.projections.get(index).map(Arc::clone)
    }

    fn each(
        &self,
        sql: &mut dyn Sql,
        partition: &Partition,
        run: impl Fn(&dyn Projection, &mut ProjectionContext<'_>) -> anyhow::Result<()>,
    ) -> Result<()> {
        for projection in self.projections.iter() {
            let mut context = ProjectionContext::new(sql, partition);
            run(projection.as_ref(), &mut context)
                .map_err(|source| Error::projection(projection.name(), source))?;
        }
        Ok(())
    }
}

fn handles(projection: &dyn Projection, message: &RecordedMessage) -> bool {
    projection
        .handles()
        .is_none_or(|types| types.contains(&message.message_type))
}

/// The types that a projection handles: those its enum knows, or fewer of them.
#[derive(Debug, Clone)]
pub(crate) struct HandledTypes(Option<Vec<String>>);

impl HandledTypes {
    pub(crate) fn of<E: crate::Event>() -> Self {
        Self(E::known_types())
    }

    pub(crate) fn restrict(&mut self, types: &[&str]) {
        self.0 = Some(types.iter().map(|&name| name.to_owned()).collect());
    }

    pub(crate) fn as_slice(&self) -> Option<&[String]> {
        self.0.as_deref()
    }
}

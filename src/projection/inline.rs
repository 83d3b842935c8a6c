//! Inline projections, which run in the transaction of the append.

use super::context::ProjectionContext;
use super::projection::{Projection, check_handled, handled_among};
use super::registry::{self, ProjectionType};
use crate::database::Sql;
use crate::error::{Error, Result};
use crate::events::{InlineVersions, Partition, RecordedMessage};
use crossbeam_channel::Sender;
use std::fmt;
use std::sync::Arc;

/// The inline projections of a store.
#[derive(Clone, Default)]
pub(crate) struct InlineProjections {
    projections: Arc<[Arc<dyn Projection>]>,
    versions: Arc<InlineVersions>,
    /// Wakes the follower thread, which handles the events that appends have missed.
    follower: Option<Sender<()>>,
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
            crate::database::check_key("the projection name", &name)?;
            if names.contains(&name) {
                return Err(Error::invalid(
                    format!("projection \"{name}\""),
                    "is given twice: remove one of them",
                ));
            }
            check_handled(projection.as_ref())?;
            names.push(name);
            versions.push(registry::version(projection.as_ref())?);
        }
        Ok(Self {
            projections: projections.into(),
            versions: Arc::new(InlineVersions::new(names, versions)),
            follower: None,
        })
    }

    /// Returns the same projections with a follower that is woken through this channel.
    pub(crate) fn followed_by(&self, bell: Sender<()>) -> Self {
        Self {
            follower: Some(bell),
            ..self.clone()
        }
    }

    /// Wakes the follower after a commit of events that the projections have not handled.
    pub(crate) fn wake_follower(&self) {
        if let Some(bell) = &self.follower {
            // The channel holds one pending wake-up; a second one adds nothing.
            let _ = bell.try_send(());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.projections.is_empty()
    }

    /// Returns the versions that an append has to send, or `None` without projections.
    pub(crate) fn versions(&self) -> Option<&InlineVersions> {
        (!self.is_empty()).then_some(&*self.versions)
    }

    /// Creates the tables of all projections.
    pub(crate) fn init(&self, sql: &mut dyn Sql, partition: &Partition) -> Result<()> {
        self.each(sql, partition, |projection, context| {
            projection.init(context)
        })
    }

    /// Registers all projections in a partition.
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

    /// Runs each projection with the messages that it handles.
    pub(crate) fn handle<'m>(
        &self,
        sql: &mut dyn Sql,
        partition: &Partition,
        messages_of: impl Fn(&str) -> Vec<&'m RecordedMessage>,
    ) -> Result<()> {
        self.projections.iter().try_for_each(|projection| {
            let messages = messages_of(projection.name());
            Self::run(projection.as_ref(), sql, partition, messages)
        })
    }

    /// Runs one projection with the messages that it handles.
    pub(crate) fn run(
        projection: &dyn Projection,
        sql: &mut dyn Sql,
        partition: &Partition,
        messages: Vec<&RecordedMessage>,
    ) -> Result<()> {
        let messages = handled_among(projection, messages);
        if messages.is_empty() {
            return Ok(());
        }
        let mut context = ProjectionContext::new(sql, partition);
        projection
            .handle(&messages, &mut context)
            .map_err(|source| Error::projection(projection.name(), source))
    }

    /// Returns the projection of this name and version.
    pub(crate) fn find_version(&self, name: &str, version: i32) -> Option<Arc<dyn Projection>> {
        let index = self.versions.names.iter().position(|known| known == name)?;
        (self.versions.versions.get(index) == Some(&version))
            .then(|| self.projections.get(index).map(Arc::clone))
            .flatten()
    }

    /// Iterates over all projections and their versions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<dyn Projection>, i32)> {
        self.projections
            .iter()
            .zip(self.versions.versions.iter().copied())
    }

    /// Returns the projection of this name.
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

//! The inline projections, which are written in the transaction of the append.

use super::context::ProjectionContext;
use super::projection::Projection;
use super::registry::{self, ProjectionType};
use crate::database::Sql;
use crate::error::{Error, Result};
use crate::events::{InlineVersions, Partition, RecordedMessage};
use std::fmt;
use std::sync::Arc;

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
            crate::database::check_key("the projection name", &name)?;
            if names.contains(&name) {
                return Err(Error::invalid(
                    format!("projection \"{name}\""),
                    "is given twice",
                ));
            }
            let what = format!("projection \"{name}\"");
            projection.handles().check(&what)?;
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
                .filter(|message| projection.handles().has_message(message))
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

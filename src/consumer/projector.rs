//! Projectors: read models that a consumer updates.

use super::processor::{Handler, Processor, ProcessorOptions, processor_options};
use crate::error::Result;
use crate::projection::{Projection, registry};
use std::fmt;
use std::sync::Arc;

/// A projection that a consumer updates in the background, instead of every append.
///
/// The projection's writes and the checkpoint of a batch are committed in one transaction. No event is skipped or
/// counted twice, even after a crash. The processor has the projection's name, or [its own](Projector::name).
///
/// Only the active version of a projection is updated. [`rebuild_with`](crate::EventStore::rebuild_with) activates
/// another version.
///
/// ```
/// use emmett_postgresql::{DocumentProjection, FailurePolicy, Projector, RawEvent, Recorded};
///
/// let counts = DocumentProjection::single_stream(
///     "event_counts",
///     |count: Option<serde_json::Value>, _: &Recorded<RawEvent>| {
///         let events = count.and_then(|count| count["events"].as_u64()).unwrap_or(0) + 1;
///         Some(serde_json::json!({ "events": events }))
///     },
/// );
/// let projector = Projector::new(counts).workers(4).on_failure(FailurePolicy::park());
/// ```
#[must_use]
pub struct Projector {
    name: Option<String>,
    projection: Arc<dyn Projection>,
    options: ProcessorOptions,
}

impl fmt::Debug for Projector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Projector")
            .field("name", &self.projection.name())
            .finish_non_exhaustive()
    }
}

impl<P: Projection> From<P> for Projector {
    fn from(projection: P) -> Self {
        Self::new(projection)
    }
}

impl Projector {
    /// Creates a projector with the default options.
    pub fn new(projection: impl Projection) -> Self {
        Self {
            name: None,
            projection: Arc::new(projection),
            options: ProcessorOptions::default(),
        }
    }

    /// Name of the processor. It identifies the checkpoint, and is used by [`wait_for`](crate::EventStore::wait_for),
    /// [`processors`](crate::EventStore::processors) and reports. A projection has one processor: starting a second one
    /// is an error. Defaults to the projection's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    processor_options!();

    pub(super) fn into_processor(self) -> Result<Processor> {
        let projection = self.projection.name();
        Ok(Processor {
            name: self.name.unwrap_or_else(|| projection.to_owned()),
            version: registry::version(self.projection.as_ref())?,
            handled: self.projection.handles().clone(),
            handler: Handler::Projector(self.projection),
            options: self.options,
        })
    }
}

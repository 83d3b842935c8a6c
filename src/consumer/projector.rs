//! Projectors: read models that a consumer keeps.

use super::processor::{Handler, Processor, ProcessorOptions, processor_options};
use crate::projection::Projection;
use std::fmt;
use std::sync::Arc;

/// A projection that a consumer keeps up to date, instead of every append.
///
/// Its writes and its checkpoint are committed in one transaction a batch: whatever happens, no event is skipped and none is
/// counted twice. The processor has the projection's name. Only the active version of a projection is kept:
/// [`rebuild_with`](crate::EventStore::rebuild_with) makes another one active.
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
    /// A projector with the default options.
    pub fn new(projection: impl Projection) -> Self {
        Self {
            projection: Arc::new(projection),
            options: ProcessorOptions::default(),
        }
    }

    processor_options!();

    pub(super) fn into_processor(self) -> Processor {
        Processor {
            name: self.projection.name().to_owned(),
            version: i32::try_from(self.projection.version()).unwrap_or(i32::MAX),
            handled: self.projection.handles().clone(),
            handler: Handler::Projector(self.projection),
            options: self.options,
        }
    }
}
